"""The sign-in file, read without Streamlit: commands read it too, before there is a page."""

import tomllib
from pathlib import Path

from spanledger_dashboard import people


def load(path: Path) -> people.SignIn:
    """Read the sign-in file.

    Raises:
        SignInError: it cannot be read or used.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise people.SignInError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # What the parser says may quote a secret.
        raise people.SignInError(f"{path} is no TOML; check it with a TOML linter.") from None
    return people.read_sign_in(document)

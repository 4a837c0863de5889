"""An older ClickHouse must not open what a newer one wrote: it loses rows, without an error.

Measured: 26.1 on data of 26.9 set whole tables aside and showed nothing, and 26.9 afterwards found nothing either. So the version
that last worked on the data is kept beside it, and one of an earlier month is refused before it touches anything.
"""

import os
from pathlib import Path
from typing import Final

from spanledger_collector.errors import CannotStart

ENGINE_FILE: Final = "engine_version"


def check_engine(file: Path, version: str, what: str) -> None:
    """Refuse an engine that is older than the one that last worked on the data.

    Args:
        file: Where the version is remembered.
        version: Of the engine that is about to work on it.
        what: The data, in words.

    Raises:
        CannotStart: it is older.
    """
    try:
        known = file.read_text("utf-8").strip()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"{file} cannot be read ({type(error).__name__}); it says which ClickHouse wrote {what}.") from error
    if _month(version) < _month(known):
        raise CannotStart(
            f"ClickHouse {version} is older than the {known} that wrote {what}, and older engines lose rows of newer ones "
            f"without saying so. Use {known} or newer, or restore a backup of then (spanledger restore)."
        )


def remember_engine(file: Path, version: str) -> None:
    """Note the version that works on the data now; after a good start.

    Raises:
        CannotStart: it cannot be written.
    """
    try:
        if file.exists() and file.read_text("utf-8").strip() == version:
            return
        draft = file.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as out:
            out.write(f"{version}\n")
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except OSError as error:
        raise CannotStart(f"{file} cannot be written ({error.strerror}).") from error


def _month(version: str) -> tuple[int, ...]:
    """Year and month, which is what a version of ClickHouse begins with."""
    parts = version.split(".")[:2]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)

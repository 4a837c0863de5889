"""Small files beside the store that only this user may read, and that are whole or the old ones whatever happens."""

import json
import os
from pathlib import Path
from typing import Any


def replace_json(path: Path, value: Any) -> None:
    """Write a value as JSON, sync it, and put it in the place of what was there.

    Raises:
        OSError: the disk does not take it; what was there stays.
    """
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

"""Room on the disk. The engine and SQLite are left a reserve: without it they can neither merge, delete what is old, nor open."""

import shutil
import time
from pathlib import Path
from typing import Final

_LOOK_EVERY_S: Final = 0.2
_MIB: Final = 1 << 20


class Room:
    """What is free on the disk of a folder, looked up five times a second at most."""

    def __init__(self, folder: Path, free_bytes_min: int) -> None:
        """Look for the first time when asked."""
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self._looked_s = 0.0
        self._free_bytes = 0

    @property
    def free_bytes(self) -> int:
        """Free bytes, for an ordinary user."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            self._free_bytes = shutil.disk_usage(self._folder).free
        return self._free_bytes

    @property
    def is_short(self) -> bool:
        """Whether the reserve is being used."""
        return self.free_bytes < self._free_bytes_min

    @property
    def words(self) -> str:
        """What is short, for the person who has to act."""
        return (
            f"The collector's disk is nearly full: {self.free_bytes // _MIB:,} MiB are free, "
            f"{self._free_bytes_min // _MIB:,} MiB are kept back. Make room, or keep data for fewer days; nothing that was "
            "accepted is lost."
        )

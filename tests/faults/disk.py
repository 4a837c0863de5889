"""A disk of its own for a collector: a small ext4 file system in a file, whose power can be cut and which can be full.

It takes root and a loop device, which a container may not have; `is_possible` says so.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path


class Disk:
    """An image that is mounted at `folder`."""

    def __init__(self, place: Path, mib: int) -> None:
        self.folder = place / "disk"
        self._image = place / "disk.img"
        self._ballast = self.folder / "ballast"
        place.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(mib << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def _mount(self) -> None:
        # The journal is committed when something is synced and hardly otherwise: nothing becomes durable by luck.
        _run("mount", "-o", "loop,commit=300", str(self._image), str(self.folder))

    def photograph(self) -> None:
        """Keep what has reached the device until now; what the system still holds in memory is not in it."""
        _run("cp", "--sparse=always", str(self._image), str(self._image.with_suffix(".cut")))

    def cut(self) -> None:
        """Go back to the photograph, as after a power cut. Nothing may be open on the disk."""
        self.unmount()
        self._image.with_suffix(".cut").replace(self._image)
        self._mount()

    def fill(self, left_bytes: int) -> None:
        """Leave so many bytes free."""
        status = os.statvfs(self.folder)
        _run("fallocate", "-l", str(max(1, status.f_bavail * status.f_frsize - left_bytes)), str(self._ballast))
        # Where even its name finds no room, it is full.
        with contextlib.suppress(OSError), self._ballast.with_suffix(".rest").open("wb") as file:
            while left_bytes == 0:
                file.write(bytes(4_096))
                file.flush()

    def free(self) -> None:
        """Take the ballast away."""
        for path in (self._ballast, self._ballast.with_suffix(".rest")):
            path.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it off; twice is harmless."""
        if os.path.ismount(self.folder):
            _run("umount", str(self.folder))


def is_possible(place: Path) -> bool:
    """Whether this machine lets us make disks."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "mount", "umount", "fallocate"))):
        return False
    try:
        Disk(place, 8).unmount()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

"""The engine's library, from which tests make genuine ClickHouse nodes.

`python tests/kit/libchdb.py` fetches it with npm; with a folder, a configuration and two ports it is a node (see `node`).

It is optional: 178 MB, kept in the user's cache folder, outside of the repository. `SPANLEDGER_LIBCHDB` names another copy.
"""

import base64
import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

PACKAGE = "@chdb/lib-linux-x64-gnu"
VERSION = "26.7.3-stable.1"
INTEGRITY = "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=="
MEMBER = "package/libchdb.so"
UNPACKED_BYTES = 600_000_000


def place() -> Path:
    """Where the library is, or would be."""
    named = os.environ.get("SPANLEDGER_LIBCHDB")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "spanledger" / f"libchdb-{VERSION}.so"


def why_not() -> str | None:
    """Why there are no nodes here, or None when there are."""
    if place().is_file():
        return None
    return f"no ClickHouse nodes: {place().name} is not in the cache (`python tests/kit/libchdb.py` fetches it with npm)"


def fetch() -> str | None:
    """Fetch it unless it is there; why that failed, or None."""
    target = place()
    if target.is_file():
        return None
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"{PACKAGE} is for Linux on x86-64"
    npm = shutil.which("npm")
    if npm is None:
        return "there is no npm"
    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(target.parent).free < 2 * UNPACKED_BYTES:
        return f"{target.parent} has less than {2 * UNPACKED_BYTES // 1_000_000} MB free"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as error:
            return f"npm could not fetch {PACKAGE}@{VERSION} ({type(error).__name__})"
        (archive,) = Path(folder).glob("*.tgz")
        with archive.open("rb") as file:
            found = "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if found != INTEGRITY:
            return f"{archive.name} is not the file that is pinned here: its checksum is {found}"
        with tarfile.open(archive) as tar, (Path(folder) / "lib").open("wb") as out:
            member = tar.extractfile(MEMBER)
            assert member is not None
            shutil.copyfileobj(member, out, 1 << 20)
        (Path(folder) / "lib").replace(target)
    return None


def run(folder: str, config: str, http: str, tcp: str) -> None:
    """Be a node until the standard input closes: ClickHouse in local mode, serving HTTP and TCP on loopback."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    fifo = f"{Path(folder).absolute()}.fifo"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os.close(held)), daemon=True).start()
    # It serves for as long as this query waits on the FIFO.
    sql = f"SYSTEM START LISTEN QUERIES ALL; SELECT count() FROM file('{fifo}', 'LineAsString')"
    arguments = ["clickhouse", "--path", folder, "--config-file", config, "--http_port", http, "--tcp_port", tcp]
    arguments += ["--listen_host", "127.0.0.1", "--query", sql]
    library = ctypes.CDLL(str(place()), mode=os.RTLD_NOW | 0x8)  # RTLD_DEEPBIND
    library.chdb_query_cmdline.restype = ctypes.c_void_p
    raw = [argument.encode() for argument in arguments]
    library.chdb_query_cmdline(len(raw), (ctypes.c_char_p * (len(raw) + 1))(*raw, None))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(*sys.argv[1:5])
        sys.exit(0)
    reason = fetch()
    print(f"No ClickHouse nodes: {reason}." if reason else f"ClickHouse nodes: {place()}")
    sys.exit(1 if reason else 0)

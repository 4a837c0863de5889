"""A data folder with a damaged part opens all the same: the part is set aside, and what that costs is said aloud.

Tables refuse to open with a damaged part (`max_suspicious_broken_parts = 0`), because ClickHouse would otherwise leave it out
without a word. Here there is a word: the manifest names each part that was set aside and that no other part covers, and the
collector is not ready until somebody has looked. So for one start the tables may leave damaged parts out; the engine's version is
checked before, since an engine that is too old finds everything damaged.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_STRICT: Final = "max_suspicious_broken_parts = 0"
_LENIENT: Final = "max_suspicious_broken_parts = 1000000"
LENIENT_TABLES: Final = (
    f"SELECT name FROM system.tables WHERE database = currentDatabase() AND create_table_query LIKE '%{_LENIENT}%'"
)
"""Tables that still are as `allow_damage` left them; names only."""

_CODE: Final = "Code: 231"


@contextmanager
def engine_words() -> Iterator[Callable[[], str]]:
    """What the engine writes to the process's standard error meanwhile, kept back; it says there only why it does not open."""
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def words() -> str:
            kept.seek(0)
            return kept.read().decode("utf-8", "replace")

        try:
            yield words
        finally:
            os.dup2(before, 2)
            os.close(before)


def is_damage(words: str) -> bool:
    """Whether the engine did not open for damaged parts (231, TOO_MANY_UNEXPECTED_DATA_PARTS)."""
    return _CODE in words


def allow_damage(folder: Path) -> None:
    """Let the tables of a closed engine leave damaged parts out the next time that it opens.

    Args:
        folder: The engine's folder.

    Raises:
        OSError: a definition cannot be written.
    """
    for file in sorted((folder / "store").glob("*/*/*.sql")):
        text = file.read_text("utf-8")
        if _STRICT not in text:
            continue
        draft = file.with_suffix(".sql.tmp")
        with draft.open("w", encoding="utf-8") as out:
            out.write(text.replace(_STRICT, _LENIENT))
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)


def forbid_damage(table: str) -> str:
    """The statement after which a table is strict again; `table` is a quoted name."""
    return f"ALTER TABLE {table} MODIFY SETTING {_STRICT}"

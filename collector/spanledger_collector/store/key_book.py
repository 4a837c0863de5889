"""Keys in the store, and in memory for every request: versions are appended, the newest counts."""

import json
import threading
import time
from pathlib import Path
from typing import Final

from spanledger_collector.clock import CLOCK
from spanledger_collector.errors import SpanledgerError, StoreUnavailable
from spanledger_collector.governance.keys import Access, Key, digest_of, is_same, split_key
from spanledger_collector.store.arrow import rows_from, table
from spanledger_collector.store.private_json import replace_json
from spanledger_collector.store.protocol import Store
from spanledger_schema.spans import Fields

LOOK_EVERY_S: Final = 2.0
_FIELDS: Final[Fields] = (
    ("key_id", "text"),
    ("project", "text"),
    ("name", "text"),
    ("scopes", "texts"),
    ("digest", "text"),
    ("created_at", "time"),
    ("expires_at", "time"),
    ("is_revoked", "u8"),
    ("version", "u64"),
    ("quota_spans_per_minute", "u64"),
)


def read_keys(store: Store) -> list[Key]:
    """All keys in their newest version, revoked and expired ones too, in order of their making.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    columns = ", ".join(name for name, _ in _FIELDS)
    newest: dict[str, Key] = {}
    for row in rows_from(store.read(f"SELECT {columns} FROM keys ORDER BY version"), _FIELDS, tuple):
        key_id, project, name, scopes, digest, created_at, expires_at, is_revoked, _, quota = row
        newest[key_id] = Key(key_id, project, name, frozenset(scopes), digest, created_at, expires_at, bool(is_revoked), quota)
    return sorted(newest.values(), key=lambda key: (key.created_at, key.key_id))


def write_key(store: Store, key: Key) -> None:
    """Append a version of a key.

    Raises:
        StoreUnavailable: the store does not take it.
    """
    row = (
        key.key_id,
        key.project,
        key.name,
        tuple(sorted(key.scopes)),
        key.digest,
        key.created_at,
        key.expires_at,
        int(key.is_revoked),
        CLOCK.now_ns(),
        key.quota,
    )
    store.insert("keys", table([row], _FIELDS), "keys")


class KeyRing:
    """All keys in memory. Checks are without I/O; `reload` after every change, `watch` where others may change them."""

    def __init__(self, store: Store, cache: Path, *, watches: bool) -> None:
        """Know nothing yet.

        Args:
            store: Where the keys are.
            cache: A file in which their digests are kept for a start while the store is away; only this user may read it.
            watches: Other collectors may change keys, so look again every two seconds.
        """
        self._store = store
        self._cache = cache
        self._watches = watches
        self._keys: dict[str, Key] = {}
        self._is_known = False
        self._last_used: dict[str, int] = {}
        self._stopping = threading.Event()

    @property
    def is_empty(self) -> bool:
        """Whether it is known that nobody ever made a key: that the last one has ended does not open the door to all."""
        return self._is_known and not self._keys

    @property
    def holds_keys(self) -> bool:
        """Whether there is a key that may be used, as far as is known."""
        return any(key.holds(time.time_ns()) for key in self._keys.values())

    def start(self) -> None:
        """Read the keys unless they are known, from the cache while the store is away."""
        if not self._is_known:
            try:
                self.reload()
            except SpanledgerError:
                self.recall()
        if self._watches:
            threading.Thread(target=self._watch, name="keys", daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the keys anew.

        Raises:
            StoreUnavailable: the store does not answer; what is known stays.
        """
        self._keys = {key.key_id: key for key in read_keys(self._store)}
        self._is_known = True
        self._write_cache()

    def check(self, given: str) -> Access | None:
        """What a key permits, or None when it is none of ours.

        Raises:
            StoreUnavailable: the store is away and the keys were never read, so nobody can say.
        """
        parts = split_key(given)
        if parts is None:
            return None
        self.must_be_known()
        key = self._keys.get(parts[0])
        now_ns = time.time_ns()
        if key is None or not is_same(digest_of(parts[1]), key.digest) or not key.holds(now_ns):
            return None
        self._last_used[key.key_id] = now_ns
        project = None if "admin" in key.scopes else key.project
        return Access(f"key:{key.key_id}", key.scopes, project, key.name, key.quota)

    def must_be_known(self) -> None:
        """Make sure that somebody can say which keys there are.

        Raises:
            StoreUnavailable: the store is away and the keys were never read.
        """
        if not self._is_known:
            raise StoreUnavailable("The keys cannot be read now; try again in a few seconds.")

    def all(self) -> list[tuple[Key, int]]:
        """Every key with when this process saw it last (0: never)."""
        return [(key, self._last_used.get(key.key_id, 0)) for key in self._keys.values()]

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.reload()
            except SpanledgerError:
                continue

    def _write_cache(self) -> None:
        keys = [
            [key.key_id, key.project, sorted(key.scopes), key.digest, key.expires_at, key.is_revoked, key.quota]
            for key in self._keys.values()
        ]
        try:
            replace_json(self._cache, keys)
        except OSError:
            # A cache: without it a start while the store is away answers 503 until it is back.
            return

    def recall(self) -> None:
        """Take the keys from the cache, where there is one."""
        try:
            rows = json.loads(self._cache.read_text())
            keys = [Key(row[0], row[1], "", frozenset(row[2]), row[3], 0, row[4], bool(row[5]), row[6]) for row in rows]
        except (OSError, ValueError, LookupError, TypeError):
            return
        self._keys = {key.key_id: key for key in keys}
        self._is_known = True

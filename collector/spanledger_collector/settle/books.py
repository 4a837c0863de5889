"""The price books of all projects as they stand now: read from the store, replaced whole when a price is set."""

import threading
from typing import Final

from spanledger_collector.errors import SpanledgerError
from spanledger_collector.pricing.book import SHIPPED, Book
from spanledger_collector.pricing.user import UserPrice
from spanledger_collector.store import price_book
from spanledger_collector.store.protocol import Store

LOOK_EVERY_S: Final = 0.5
"""How often to look whether another collector has set a price."""


class Books:
    """One book per project. `start` and `stop` its watch; other methods are thread-safe."""

    def __init__(self, store: Store, *, watches: bool) -> None:
        """Prepare.

        Args:
            store: Where prices are kept.
            watches: Other collectors may set prices too, so look for them.
        """
        self._store = store
        self._watches = watches
        self._books: dict[str, Book] = {}
        self._version = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, project: str) -> Book:
        """The project's book as it stands now."""
        return self._books.get(project, SHIPPED)

    def reload(self) -> None:
        """Read the prices of all projects.

        Raises:
            StoreUnavailable: the store does not answer; the books stay as they were.
        """
        with self._lock:
            self._version = price_book.newest_version(self._store)
            found: dict[str, list[UserPrice]] = {}
            for project, price in price_book.read_all(self._store):
                found.setdefault(project, []).append(price)
            books = {}
            for project, prices in found.items():
                before = self._books.get(project)
                # A book that has not changed keeps what it has compiled.
                books[project] = before if before is not None and before.user_prices == tuple(prices) else Book(prices)
            self._books = books

    def start(self) -> None:
        """Read the prices and begin to watch.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self.reload()
        if self._watches:
            self._thread = threading.Thread(target=self._watch, name="price-books", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                if price_book.newest_version(self._store) != self._version:
                    self.reload()
            except SpanledgerError:
                # The settler reports that the store is away; prices are read again when it is back.
                continue

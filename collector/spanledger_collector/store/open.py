"""Which store the settings mean."""

from spanledger_collector.errors import CannotStart
from spanledger_collector.settings import Settings
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.protocol import Store
from spanledger_collector.store.server import ServerStore


def open_store(settings: Settings) -> Store:
    """Open the embedded store, or connect to the server of `SPANLEDGER_CLICKHOUSE_URL`.

    Raises:
        CannotStart: it cannot be opened or reached.
    """
    if settings.clickhouse_url is not None:
        url = settings.clickhouse_url.get_secret_value()
        if not url.startswith(("http://", "https://")):
            raise CannotStart("SPANLEDGER_CLICKHOUSE_URL starts with http:// or https://.")
        return ServerStore(
            url,
            read_handles=settings.read_handles,
            query_seconds_max=settings.query_seconds_max,
            query_memory_bytes_max=settings.query_memory_bytes_max,
        )
    return EmbeddedStore(
        settings.data_dir,
        read_handles=settings.read_handles,
        query_seconds_max=settings.query_seconds_max,
        query_memory_bytes_max=settings.query_memory_bytes_max,
        engine_memory_bytes_max=settings.engine_memory_bytes_max,
    )

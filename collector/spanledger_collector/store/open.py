"""Which store the settings mean."""

from pydantic import SecretStr

from spanledger_collector.errors import CannotStart
from spanledger_collector.settings import Settings
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.protocol import Store
from spanledger_collector.store.server import ServerStore


def open_store(settings: Settings) -> Store:
    """Open the embedded store, or prepare to speak to the server of `SPANLEDGER_CLICKHOUSE_URL`.

    Raises:
        CannotStart: it cannot be opened, or the settings do not fit together.
    """
    if settings.clickhouse_url is not None:
        return ServerStore.connect(
            settings.clickhouse_url.get_secret_value(),
            cluster=settings.clickhouse_cluster,
            shards=_addresses(settings.clickhouse_shards),
            read_handles=settings.read_handles,
            query_seconds_max=settings.query_seconds_max,
            query_memory_bytes_max=settings.query_memory_bytes_max,
        )
    if settings.clickhouse_cluster is not None or settings.clickhouse_shards is not None:
        raise CannotStart("SPANLEDGER_CLICKHOUSE_CLUSTER and _SHARDS need SPANLEDGER_CLICKHOUSE_URL, the server to speak to.")
    return EmbeddedStore(
        settings.data_dir,
        read_handles=settings.read_handles,
        query_seconds_max=settings.query_seconds_max,
        query_memory_bytes_max=settings.query_memory_bytes_max,
        engine_memory_bytes_max=settings.engine_memory_bytes_max,
    )


def _addresses(secret: SecretStr | None) -> list[str]:
    return [] if secret is None else [part.strip() for part in secret.get_secret_value().split(",") if part.strip()]

"""Settings of the collector: `SPANLEDGER_*` environment variables, built once by the command line and passed down."""

from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """One collector's settings. Sizes are bytes, times seconds, as their names say."""

    model_config = SettingsConfigDict(env_prefix="SPANLEDGER_", frozen=True, extra="ignore")

    host: Annotated[str, Field(description="Address to listen on; without keys only loopback addresses are allowed.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the HTTP API and of OTLP/HTTP.")] = 4318
    grpc_port: Annotated[int | None, Field(ge=1, le=65535, description="Port of OTLP/gRPC (needs grpcio); unset means none.")] = (
        None
    )
    data_dir: Annotated[Path, Field(description="Folder of the embedded store.")] = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("spanledger", appauthor=False))
    )
    bootstrap_key: Annotated[
        SecretStr | None, Field(description="The first key: every request then needs `Authorization: Bearer <key>`.")
    ] = None
    clickhouse_url: Annotated[
        SecretStr | None,
        Field(description="`http(s)://user:password@host:8123/database` of a ClickHouse server; unset means embedded."),
    ] = None
    clickhouse_cluster: Annotated[
        str | None,
        Field(description="Name of a cluster in the server's `remote_servers`: tables are cut over its shards and replicated."),
    ] = None
    clickhouse_shards: Annotated[
        SecretStr | None,
        Field(
            description="For a cluster without replicas and Keeper: the address of each shard, separated by commas, that of "
            "`SPANLEDGER_CLICKHOUSE_URL` among them."
        ),
    ] = None

    body_bytes_max: Annotated[int, Field(gt=0, description="Largest request body as sent.")] = 16 * MIB
    decompressed_bytes_max: Annotated[int, Field(gt=0, description="Largest request body after decompression.")] = 64 * MIB
    request_spans_max: Annotated[int, Field(gt=0, description="Most spans in one request.")] = 100_000
    open_bytes_max: Annotated[
        int, Field(gt=0, description="Most bytes of request bodies being worked on; above it the answer is 503.")
    ] = 96 * MIB
    disk_free_bytes_min: Annotated[
        int, Field(ge=0, description="With less than this free on the disk of the data folder nothing new is accepted (503).")
    ] = 256 * MIB
    spool_bytes_max: Annotated[int, Field(ge=0, description="Most bytes of requests that wait while the store is away.")] = (
        512 * MIB
    )
    spool_after_s: Annotated[
        float, Field(gt=0, description="A request that the store keeps waiting this long waits on disk.")
    ] = 5.0
    group_rows_max: Annotated[int, Field(gt=0, description="Most spans in one group commit.")] = 8_192
    group_wait_s: Annotated[float, Field(ge=0, description="How long a group waits for requests that are being read.")] = 0.05
    settle_every_s: Annotated[float, Field(gt=0, description="How often finished traces are settled.")] = 0.25
    settle_quiet_s: Annotated[
        float, Field(ge=0, description="An unfinished trace is settled when nothing came for it for this long.")
    ] = 1.0
    recent_spans_max: Annotated[int, Field(gt=0, description="Spans kept in memory for settling.")] = 60_000
    query_seconds_max: Annotated[float, Field(gt=0, description="Longest run of one question.")] = 20.0
    query_memory_bytes_max: Annotated[int, Field(gt=0, description="Most memory of one question.")] = 512 * MIB
    engine_memory_bytes_max: Annotated[int, Field(gt=0, description="Most memory of the embedded engine.")] = 1_536 * MIB
    read_handles: Annotated[int, Field(gt=0, description="Questions that the store answers at the same time.")] = 3
    alert_every_s: Annotated[float, Field(gt=0, description="How often alert rules are evaluated.")] = 5.0
    alert_webhook_allow_private: Annotated[
        bool, Field(description="Deliver webhooks to private and loopback addresses too (off: they are refused).")
    ] = False
    public_url: Annotated[str, Field(description="Address of the dashboard, for links in alerts.")] = "http://127.0.0.1:8501"
    smtp_url: Annotated[
        SecretStr | None,
        Field(description="`smtp://user:password@host:587` (STARTTLS where offered) or `smtps://…`; unset: no e-mail."),
    ] = None
    smtp_from: Annotated[str, Field(description="Sender of alert e-mails.")] = "spanledger@localhost"

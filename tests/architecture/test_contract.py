"""The contract in code and the DDL are two views of one truth; migrations behave; docs list what exists."""

import re
from collections.abc import Iterator

import pytest
from live import new_store

from spanledger_collector.errors import CannotStart
from spanledger_collector.store.ddl import split
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.migrate import Migration, migrate, pending, shipped
from spanledger_collector.store.protocol import rows_of
from spanledger_schema.query import Query
from spanledger_schema.spans import CALL_FIELDS, CONTENT_FIELDS, INTERACTION_FIELDS, SPAN_FIELDS, CallRow, InteractionRow, SpanRow

TYPES = {
    "text": r"(LowCardinality\()?String\)?",
    "time": r"DateTime64\(9, 'UTC'\)",
    "u8": "UInt8",
    "u16": "UInt16",
    "u32": "UInt32",
    "u64": "UInt64",
    "i8": "Int8",
    "money": r"Decimal\(18, 12\)",
    "map_text": r"Map\(LowCardinality\(String\), String\)",
    "map_u32": r"Map\(LowCardinality\(String\), UInt32\)",
    "texts": r"Array\(LowCardinality\(String\)\)",
    "f64s": r"Array\(Float64\)",
    "i8s": r"Array\(Int8\)",
    "moneys": r"Array\(Nullable\(Decimal\(18, 12\)\)\)",
}


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedStore]:
    opened = new_store()
    migrate(opened)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("table", "fields", "kept"),
    [
        ("spans", SPAN_FIELDS, set()),
        ("span_content", CONTENT_FIELDS, set()),
        ("interactions", INTERACTION_FIELDS, {"version", "is_deleted"}),
        ("calls", CALL_FIELDS, {"version", "is_deleted"}),
    ],
)
def test_rows_match_their_tables(store: EmbeddedStore, table: str, fields: tuple[tuple[str, str], ...], kept: set[str]) -> None:
    described = {row["name"]: row["type"] for row in rows_of(store.read(f"DESCRIBE TABLE {table}"))}
    assert set(described) - kept == {name for name, _ in fields}
    for name, kind in fields:
        wanted = TYPES[kind.removesuffix("?")]
        wanted = rf"Nullable\({wanted}\)" if kind.endswith("?") else wanted
        assert re.fullmatch(wanted, described[name]), (name, described[name])


def test_row_types_have_the_fields_of_their_tables() -> None:
    for row, fields in ((SpanRow, SPAN_FIELDS), (InteractionRow, INTERACTION_FIELDS), (CallRow, CALL_FIELDS)):
        assert row._fields == tuple(name for name, _ in fields)


def test_every_ledger_table_is_durable(store: EmbeddedStore) -> None:
    tables = rows_of(store.read("SELECT name, create_table_query AS ddl FROM system.tables WHERE database = currentDatabase()"))
    assert len(tables) >= 9
    for table in tables:
        for setting in (
            "fsync_after_insert = 1",
            "fsync_part_directory = 1",
            # After a power cut a merged part that was not synced keeps the engine from opening.
            "min_rows_to_fsync_after_merge = 1",
            "min_compressed_bytes_to_fsync_after_merge = 1",
            "max_suspicious_broken_parts = 0",
        ):
            assert setting in table["ddl"], (table["name"], setting)


def test_migrating_twice_changes_nothing(store: EmbeddedStore) -> None:
    assert migrate(store) == []
    assert pending(store) == []


def test_an_edited_migration_and_a_newer_store_are_refused(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = [Migration(migration.name, migration.text + "-- edited") for migration in shipped()]
    monkeypatch.setattr("spanledger_collector.store.migrate.shipped", lambda: edited)
    with pytest.raises(CannotStart, match="edited"):
        pending(store)
    monkeypatch.setattr("spanledger_collector.store.migrate.shipped", lambda: edited[:1])
    with pytest.raises(CannotStart, match="newer"):
        pending(store)


def test_statements_split_at_semicolons_outside_quotes_and_comments() -> None:
    text = "-- a; b\nSELECT ';' /* x; y */;\n\nSELECT 'it''s; fine', 1 - 2;"
    assert split(text) == ["SELECT ';'", "SELECT 'it''s; fine', 1 - 2"]


@pytest.mark.parametrize(
    "raw",
    [
        {"measures": ["cost_usd"]},
        {
            "measures": ["cost_usd", "interactions"],
            "dimensions": ["model", "tag:tier"],
            "granularity": "day",
            "filters": [{"dimension": "feature", "op": "not_in", "values": ["a", None]}],
            "start": "2026-11-01T00:00:00+02:00",
            "end": "2026-11-02T00:00:00Z",
            "timezone": "Europe/Berlin",
            "order_by": ["-cost_usd", "time"],
            "limit": 7,
        },
    ],
)
def test_a_query_survives_its_json(raw: dict[str, object]) -> None:
    query = Query.from_dict(raw)
    assert Query.from_dict(query.to_dict()) == query

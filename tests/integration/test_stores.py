"""One contract for every store: embedded, the HTTP front over chDB, a genuine ClickHouse node, two nodes that are one cluster."""

import itertools
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from live import new_store
from servers import Servers, skip_without

from spanledger_collector.errors import CannotStart, QueryTooExpensive, StoreRefused, StoreUnavailable
from spanledger_collector.store import arrow, ddl
from spanledger_collector.store.compact import compact_one
from spanledger_collector.store.ddl import parts_of
from spanledger_collector.store.ledger import calls_by_response, read_history
from spanledger_collector.store.migrate import migrate, pending
from spanledger_collector.store.partitions import insert_by_days
from spanledger_collector.store.protocol import Store, pieces, rows_of
from spanledger_collector.store.server import ServerStore
from spanledger_schema.spans import CALL_FIELDS, CONTENT_FIELDS

STORES = ("embedded", "front", "node", "shards")
DAY_NS = 86_400_000_000_000
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module", params=STORES)
def servers(request: pytest.FixtureRequest) -> Iterator[Servers | None]:
    skip_without(request.param)
    found = None if request.param == "embedded" else Servers(request.param)
    yield found
    if found is not None:
        found.stop()


@pytest.fixture(scope="module")
def store(servers: Servers | None) -> Iterator[Store]:
    opened: Store = new_store() if servers is None else servers.connect()
    opened.prepare()
    migrate(opened)
    yield opened
    opened.close()


def content(number: int, days: int = 0, project: str = "p", version: int = 1, said: str = "in") -> tuple[Any, ...]:
    start = (time.time_ns() // DAY_NS - days) * DAY_NS + number
    return (project, f"{number:032x}", f"{number:016x}", "span", start, said, "out", "", "", "", version)


def put(store: Store, *rows: tuple[Any, ...]) -> None:
    insert_by_days(store, "span_content", arrow.table(rows, CONTENT_FIELDS), "test")


def count(store: Store, project: str, table: str = "span_content") -> int:
    sql = f"SELECT count() AS n FROM {table} FINAL WHERE project = {{p:String}}"
    return int(rows_of(store.read(sql, {"p": project}))[0]["n"])


@pytest.fixture
def project() -> str:
    return f"p{next(NUMBERS)}"


def test_rows_come_back_as_they_went_in(store: Store, project: str) -> None:
    start = time.time_ns() // 1_000_000_000 * 1_000_000_000 + 123_456_789
    values: dict[str, Any] = dict.fromkeys((name for name, _ in CALL_FIELDS))
    plain = {"text": "", "u8": 1, "u16": 429, "u32": 4_000_000_000, "u64": 2**63 + 5, "map_text": {}, "map_u32": {}}
    for name, kind in CALL_FIELDS:
        values[name] = None if kind.endswith("?") else plain.get(kind, 0)
    values |= {
        "project": project,
        "trace_id": "0" * 31 + "a",
        "span_id": "b" * 16,
        "start_time": start,
        "name": "ünï'\n\\\t\0\"`",
    }
    values |= {"tags": {"a": "1", "é": ""}, "other_tokens": {"audio": 7}, "cost_usd": 123_456_789_012, "cost_input_usd": 0}
    row = tuple(values[name] for name, _ in CALL_FIELDS)
    store.insert("calls", arrow.call_table([row], 2**63 + 1, [0]), "test")
    names = ", ".join(name for name, _ in CALL_FIELDS)
    answer = store.read(f"SELECT {names} FROM calls FINAL WHERE project = {{p:String}}", {"p": project})
    assert arrow.rows_from(answer, CALL_FIELDS, tuple) == [row]
    found = rows_of(store.read("SELECT cost_usd, version FROM calls WHERE project = {p:String}", {"p": project}))
    assert found == [{"cost_usd": Decimal("0.123456789012"), "version": 2**63 + 1}]


def test_what_is_sent_twice_counts_once_and_the_higher_version_wins(store: Store, project: str) -> None:
    rows = [content(number, project=project) for number in range(1, 21)]
    for _ in range(3):
        put(store, *rows)
    put(store, *(content(number, project=project, version=2, said="better") for number in range(1, 6)))
    assert count(store, project) == 20
    sql = "SELECT input, count() AS n FROM span_content FINAL WHERE project = {p:String} GROUP BY input ORDER BY input"
    assert rows_of(store.read(sql, {"p": project})) == [{"input": "better", "n": 5}, {"input": "in", "n": 15}]


def test_a_batch_over_many_days_goes_in(store: Store, project: str) -> None:
    put(store, *(content(number, days=number, project=project) for number in range(1, 41)))
    assert count(store, project) == 40


def test_an_empty_answer_has_its_columns(store: Store, project: str) -> None:
    answer = store.read("SELECT trace_id, start_time FROM spans FINAL WHERE project = {p:String} LIMIT 0", {"p": project})
    assert answer.num_rows == 0
    assert answer.column_names == ["trace_id", "start_time"]


BOUND: list[tuple[str, Any, Any]] = [
    ("String", "it's \\ \n\t\"`{x:String}` -- /* é漢😀", None),
    ("String", "", None),
    ("Array(String)", ["a'b", "", "c\\d\n"], None),
    ("Array(String)", [f"{n:032x}" for n in range(2_000)], None),
    ("Array(String)", [], None),
    ("Int64", -(2**63), None),
    ("UInt64", 2**64 - 1, None),
    ("Float64", 0.1, None),
    ("DateTime64(6, 'UTC')", "2026-11-25 01:02:03.456789", datetime(2026, 11, 25, 1, 2, 3, 456_789, UTC)),
    ("Decimal(38, 12)", Decimal("-0.000000000001"), None),
]


@pytest.mark.parametrize(("kind", "value", "wanted"), BOUND, ids=[f"{at}-{bound[0]}" for at, bound in enumerate(BOUND)])
def test_values_are_bound_and_never_formatted(store: Store, kind: str, value: Any, wanted: Any) -> None:
    found = rows_of(store.read(f"SELECT {{v:{kind}}} AS v", {"v": value}))
    assert found == [{"v": value if wanted is None else wanted}]


def test_thousands_of_ids_are_asked_for_in_pieces_that_a_server_reads(store: Store) -> None:
    ids = [f"chatcmpl-'ü{number:040}" for number in range(8_000)]
    assert [value for piece in pieces(ids) for value in piece] == ids
    assert calls_by_response(store, "p", ids, (0, 1)) == {}
    assert read_history(store, [("p", f"{number:032x}") for number in range(2_000)])


def test_questions_cannot_write(store: Store, project: str) -> None:
    put(store, content(1, project=project))
    for statement in ("TRUNCATE TABLE keys", "INSERT INTO keys (key_id) VALUES ('x')", "SELECT 1 SETTINGS readonly = 0"):
        with pytest.raises((StoreRefused, StoreUnavailable)):
            store.read(statement)
    put(store, content(2, project=project))
    assert count(store, project) == 2, "and a write after it goes in"


def test_a_question_that_costs_too_much_says_so_and_the_next_one_works(store: Store) -> None:
    heavy = "SELECT sum(cityHash64(number, 1) % 7) AS s FROM numbers(1000000000000) SETTINGS max_execution_time = 0.3"
    with pytest.raises(QueryTooExpensive, match="shorter range"):
        store.read(heavy)
    assert rows_of(store.read("SELECT 1 AS one")) == [{"one": 1}]
    with pytest.raises(StoreRefused, match="62"):
        store.read("SELEC 1")


def test_rows_that_cannot_be_stored_are_refused_and_others_are_not_told_to_wait(store: Store, project: str) -> None:
    store.command(f"ALTER TABLE {parts_of('span_content')} ADD CONSTRAINT IF NOT EXISTS no_poison CHECK input != 'poison'")
    try:
        with pytest.raises(StoreRefused, match="469"):
            put(store, content(1, project=project, said="poison"))
        put(store, content(2, project=project))
    finally:
        store.command(f"ALTER TABLE {parts_of('span_content')} DROP CONSTRAINT IF EXISTS no_poison")
    with pytest.raises(StoreUnavailable):
        store.insert("no_such_table", pa.table({"a": [1]}), "test")
    with pytest.raises(StoreRefused, match="Syntax error"):
        store.command("CREATE TABEL x")


def test_a_change_reaches_the_parts_of_every_shard(store: Store, project: str) -> None:
    put(store, *(content(number, project=project) for number in range(1, 101)))
    gone = [f"{number:032x}" for number in range(1, 31)]
    sql = f"ALTER TABLE {parts_of('span_content')} DELETE WHERE project = {{p:String}} AND trace_id IN {{ids:Array(String)}}"
    store.command(f"{sql} SETTINGS mutations_sync = 2", {"p": project, "ids": gone})
    assert count(store, project) == 70


def test_quiet_days_become_one_part_on_every_shard(store: Store, project: str) -> None:
    for number in range(1, 4):
        put(store, *(content(number * 100 + n, days=3, project=project) for n in range(20)))
    while compact_one(store, f"{datetime.now(UTC):%Y%m%d}", quiet_s=0):
        pass
    day = f"{datetime.fromtimestamp(time.time() - 3 * 86_400, UTC):%Y%m%d}"
    sql = f"SELECT shard, count() AS n FROM {store.system('parts')} WHERE database = currentDatabase() AND active "
    found = rows_of(
        store.read(sql + "AND table LIKE 'span_content%' AND partition_id = {day:String} GROUP BY shard", {"day": day})
    )
    assert found
    assert {row["n"] for row in found} == {1}
    assert count(store, project) == 60


def test_migrating_again_changes_nothing_and_looking_changes_nothing_either(store: Store, servers: Servers | None) -> None:
    assert migrate(store) == []
    fresh: Store = new_store() if servers is None else servers.connect("looked_at")
    try:
        fresh.prepare()
        assert [migration.name for migration in pending(fresh)]
        tables = rows_of(fresh.read("SELECT name FROM system.tables WHERE database = currentDatabase()"))
        assert tables == [], "a dry run leaves nothing"
    finally:
        fresh.close()


def test_the_tables_above_the_shards_have_every_column_of_those_below(store: Store) -> None:
    sql = f"SELECT shard, table, name, type FROM {store.system('columns')} WHERE database = currentDatabase() ORDER BY position"
    columns: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for row in rows_of(store.read(sql)):
        columns.setdefault((row["shard"], row["table"]), []).append((row["name"], row["type"]))
    assert len(columns) >= 15
    for (shard, table), found in columns.items():
        if table.endswith("_local"):
            assert columns[shard, table.removesuffix("_local")] == found
        assert columns[1, table] == found, "shards are alike"


def test_readers_and_writers_do_not_disturb_each_other(store: Store, project: str) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                store.insert(
                    "span_content", arrow.table([content(number * 10 + turn, project=project)], CONTENT_FIELDS), f"l{number}"
                )
                count(store, project)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert count(store, project) == 25


def test_a_store_that_was_closed_says_so(servers: Servers | None) -> None:
    closed: Store = new_store() if servers is None else servers.connect()
    closed.prepare()
    closed.close()
    closed.close()
    with pytest.raises(StoreUnavailable, match="stopping"):
        closed.read("SELECT 1")
    with pytest.raises(StoreUnavailable, match="stopping"):
        put(closed, content(1))


# --- addresses, and what does not fit together -------------------------------------------------------------------------------


def test_a_server_that_is_away_is_not_asked_before_there_is_something_to_say() -> None:
    store = ServerStore.connect("http://127.0.0.1:9/ledger")
    with pytest.raises(StoreUnavailable):
        store.read("SELECT 1")
    with pytest.raises(StoreUnavailable):
        store.prepare()
    store.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "clickhouse://x:1/y"}, "http"),
        ({"url": "http:///y"}, "http"),
        ({"shards": ["http://a/d"]}, "CLUSTER"),
        ({"cluster": "a'b"}, "letters"),
        ({"cluster": "c", "shards": ["http://b/d"]}, "SHARDS names each shard once"),
        ({"cluster": "c", "shards": ["http://a/d", "http://a/d"]}, "SHARDS names each shard once"),
        ({"cluster": "c", "shards": ["http://a/d", "http://b/e"]}, "the same database"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotStart, match=words):
        ServerStore.connect(**{"url": "http://a/d", **given})


def test_a_wrong_password_ends_the_start_in_words() -> None:
    skip_without("node")
    servers = Servers("node")
    try:
        url = servers[0].url.replace("http://", "http://nobody:wrong@")
        store = ServerStore.connect(url)
        with pytest.raises(CannotStart, match="refuses the login"):
            store.prepare()
        store.close()
    finally:
        servers.stop()


def test_every_table_that_is_settled_or_joined_by_trace_is_cut_by_its_identity() -> None:
    assert set(ddl.sharded_tables()) == {"spans", "span_content", "interactions", "calls", "span_notes"}
    assert set(ddl.sharded_tables().values()) == {"sipHash64(project, trace_id)"}

"""One text of the schema: on one node, on shards that are told one by one, on replicas that Keeper tells; cut off anywhere."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from live import new_store

from spanledger_collector.errors import StoreUnavailable
from spanledger_collector.store.ddl import ONE_NODE, Layout, render
from spanledger_collector.store.embedded import EmbeddedStore
from spanledger_collector.store.migrate import migrate, pending, shipped
from spanledger_collector.store.protocol import Store, rows_of

LAYOUTS = [ONE_NODE, Layout("ledger"), Layout("ledger", is_replicated=True)]


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedStore]:
    opened = new_store()
    yield opened
    opened.close()


@pytest.mark.parametrize("layout", LAYOUTS, ids=["node", "shards", "replicas"])
def test_every_statement_is_one_that_the_engine_can_read(store: EmbeddedStore, layout: Layout) -> None:
    statements = [statement for migration in shipped() for statement in render(migration.text, layout)]
    assert len(statements) > 15
    for statement in statements:
        assert "/*@" not in statement
        store.command(f"EXPLAIN AST {statement}")


def test_replicas_have_everything_replicated_and_by_shard_what_is_cut_by_trace() -> None:
    text = "\n".join(";\n".join(render(migration.text, LAYOUTS[2])) for migration in shipped())
    made = re.findall(
        r"CREATE TABLE IF NOT EXISTS (\w+)\s+(ON CLUSTER 'ledger')?\s*\(.*?ENGINE = (\w+)\(([^)]*)\)", text, re.DOTALL
    )
    assert len(made) > 10
    for table, on, engine, arguments in made:
        assert on, table
        assert engine.startswith("Replicated"), table
        is_cut = table.endswith("_local")
        assert f"/clickhouse/tables/{'{shard}' if is_cut else 'all'}/" in arguments, table
        assert ("'{replica}'" if is_cut else "'{shard}-{replica}'") in arguments, table
    above = re.findall(r"CREATE OR REPLACE TABLE (\w+) ON CLUSTER 'ledger' AS (\w+_local) ENGINE = Distributed\('ledger'", text)
    assert {table for table, _ in above} == {local.removesuffix("_local") for _, local in above}
    assert {local for _, local in above} == {table for table, *_ in made if table.endswith("_local")}


def test_what_is_in_quotes_is_text_and_an_unknown_marker_is_an_error() -> None:
    assert render("SELECT ';', 'it''s', '/*@x*/'; -- a; comment\nSELECT 2 / 1 - 1 /* ; */") == [
        "SELECT ';', 'it''s', ''",
        "SELECT 2 / 1 - 1",
    ]
    with pytest.raises(ValueError, match="not known"):
        render("CREATE TABLE a /*@on_clutser*/ (b String)", Layout("ledger"))
    with pytest.raises(ValueError, match="letters"):
        Layout("a'; DROP")


class Fragile:
    """A store that stops answering after some statements, perhaps after it did what was asked."""

    def __init__(self, store: Store, statements: int) -> None:
        self._store, self._left = store, statements

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        for statement in render(sql):
            if self._left <= 0:
                raise StoreUnavailable("cut off")
            self._left -= 1
            self._store.command(statement, parameters)

    def insert(self, table: str, rows: Any, lane: str) -> None:
        self.command("SELECT 1")
        self._store.insert(table, rows, lane)

    def places(self) -> Sequence["Fragile"]:
        return [self]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def schema(store: Store) -> list[dict[str, Any]]:
    sql = "SELECT name, replaceOne(create_table_query, concat(currentDatabase(), '.'), '') AS made FROM system.tables "
    return rows_of(store.read(sql + "WHERE database = currentDatabase() ORDER BY name"))


def test_a_migration_that_is_cut_off_at_any_statement_goes_on_where_it_stopped() -> None:
    whole = new_store()
    migrate(whole)
    wanted = schema(whole)
    whole.close()
    steps = sum(len(migration.statements) for migration in shipped()) + len(shipped()) + 1
    for done in range(0, steps, 2):
        broken = new_store()
        with pytest.raises(StoreUnavailable):
            migrate(Fragile(broken, done))
        assert pending(broken)
        migrate(broken)
        assert schema(broken) == wanted, done
        assert migrate(broken) == []
        broken.close()

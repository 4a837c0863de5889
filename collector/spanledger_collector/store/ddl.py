"""One text of every statement serves one node and a cluster: comment markers are filled in for where it runs. Pure.

On one node comments are comments, so the text runs as it is (`docs/adr/0003`). On a cluster

    spans/*@local*/                       is spans_local, the part of the table that a shard keeps
    /*@on_cluster*/                       is ON CLUSTER 'name', or nothing where each host is told by itself
    /*@replicated*/ReplacingMergeTree(v)  is replicated within its shard
    /*@replicated_all*/MergeTree()        is replicated everywhere: small tables, one copy of the same
    /*@distributed spans key*/            makes the table `spans` above the shards' `spans_local`

Changes to the table of a shard are followed by its `@distributed` line again: that is how a new column gets through.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

_ENGINE: Final = r"/\*@{}\*/\s*(\w*)MergeTree\(([^()]*)\)"
_DISTRIBUTED: Final = re.compile(r"/\*@distributed\s+(\w+)\s+(.*?)\s*\*/", re.DOTALL)
_MARKER: Final = re.compile(r"/\*@.*?\*/", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOCAL: Final = "/*@local*/"
_ON_CLUSTER: Final = "/*@on_cluster*/"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where tables lie: on one node, or on the shards of a cluster.

    Attributes:
        cluster: The cluster's name in the server's configuration, or None for one node.
        is_replicated: Each shard has replicas and Keeper tells all hosts; else each host is told by itself, and the small tables
            are on the first one.
    """

    cluster: str | None = None
    is_replicated: bool = False

    def __post_init__(self) -> None:
        """Refuse a name that would have to be quoted."""
        if self.cluster is not None and not _NAME.fullmatch(self.cluster):
            raise ValueError("The name of a cluster has letters, digits and underscores.")


ONE_NODE: Final = Layout()


def render(text: str, layout: Layout = ONE_NODE) -> list[str]:
    """The statements that a text with markers means in a layout."""
    if layout.cluster is None:
        return split(_MARKER.sub("", text))
    name = f"'{layout.cluster}'"
    on = f"ON CLUSTER {name}" if layout.is_replicated else ""
    text = text.replace(_LOCAL, "_local").replace(_ON_CLUSTER, on)
    for mark, shard, replica in (("replicated", "{shard}", "{replica}"), ("replicated_all", "all", "{shard}-{replica}")):
        if layout.is_replicated:
            text = re.sub(_ENGINE.format(mark), _replicated(shard, replica), text)
        else:
            text = text.replace(f"/*@{mark}*/", "")

    def above(found: "re.Match[str]") -> str:
        table, key = found.groups()
        engine = f"Distributed({name}, currentDatabase(), '{table}_local', {key})"
        return f";CREATE OR REPLACE TABLE {table} {on} AS {table}_local ENGINE = {engine};"

    text = _DISTRIBUTED.sub(above, text)
    if (left := _MARKER.search(text)) is not None:
        raise ValueError(f"The marker {left.group()} is not known, or stands before an engine with parentheses in its arguments.")
    return split(text)


def _replicated(shard: str, replica: str) -> Callable[["re.Match[str]"], str]:
    # {shard}, {database}, {table} and {replica} are the server's own macros. Replicas of different shards may be called alike.
    path = f"'/clickhouse/tables/{shard}/{{database}}/{{table}}', '{replica}'"

    def engine(found: "re.Match[str]") -> str:
        kind, arguments = found.groups()
        return f"Replicated{kind}MergeTree({', '.join(filter(None, (path, arguments.strip())))})"

    return engine


def is_by_shard(statement: str) -> bool:
    """Whether a statement is about the parts that every shard keeps, so that every shard has to run it."""
    return _LOCAL in statement


@lru_cache(maxsize=1)
def sharded_tables() -> dict[str, str]:
    """The tables that are cut over shards, with the key that cuts them, as the migrations say."""
    folder = resources.files("spanledger_schema") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return {table: key for file in files for table, key in _DISTRIBUTED.findall(file.read_text("utf-8"))}


def parts_of(table: str) -> str:
    """A table's name in a statement that changes its parts (ALTER … DELETE, OPTIMIZE): marked where they lie on shards."""
    return f"{table}{_LOCAL} {_ON_CLUSTER}" if table in sharded_tables() else table


def split(text: str) -> list[str]:
    """Cut SQL at semicolons outside quotes and comments; comments are dropped."""
    pattern = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|;|[^;'/-]+|[/-]", re.DOTALL)
    statements, current = [], ""
    for piece in pattern.findall(text):
        if piece == ";":
            statements.append(current.strip())
            current = ""
        elif not piece.startswith(("--", "/*")):
            current += piece
    statements.append(current.strip())
    return [statement for statement in statements if statement]

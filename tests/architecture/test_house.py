"""The house rules as tests: who imports whom, how large things are, where SQL may stand, and what may not be written."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schema/spanledger_schema", "sdk/spanledger", "collector/spanledger_collector", "dashboard/spanledger_dashboard")
MODULE_LINES_MAX = 410
FUNCTION_LINES_MAX = 75
LONG_FUNCTIONS = {
    "normalise": "one row of 48 columns, in order",
    "_settle_group": "one row of 43 columns, in order",
    "call_row": "one row of 46 columns, in order",
    "get_interactions": "one parameter a line",
    "step": "one field a line",
}
DATA_MODULES = {"catalogue.py": "a list of measures"}
NO_NAMES = re.compile(r"_?(utils?|helpers?|common|misc|manager|base)")
SQL = re.compile(r"\b(SELECT\s+[\w*({`]|INSERT\s+INTO\s|CREATE\s+TABLE\s|ALTER\s+TABLE\s)")
SQL_ROOMS = ("collector/spanledger_collector/store/", "collector/spanledger_collector/query/", "sdk/spanledger/_spool.py")


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


MODULES = list(modules())
IDS = [str(path.relative_to(ROOT)) for path in MODULES]


def test_import_contracts_hold() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3_000:]


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    if path.name not in DATA_MODULES:
        assert text.count("\n") <= MODULE_LINES_MAX, "a second room is in there"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in LONG_FUNCTIONS:
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_names_say_something(path: Path) -> None:
    assert not NO_NAMES.fullmatch(path.stem)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_sql_stays_in_its_rooms(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    if relative.startswith(SQL_ROOMS) or relative == "schema/spanledger_schema/catalogue.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if relative.endswith("api/health.py") and node.value == "SELECT count() FROM schema_migrations":
                continue
            assert not SQL.search(node.value), node.value[:80]


def test_only_the_decoder_reads_otlp_protobufs() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if "spanledger_collector" in str(path) and "opentelemetry.proto" in path.read_text() and path.name != "otlp.py"
    ]
    assert offenders == []


def test_only_the_dashboard_s_shell_knows_streamlit() -> None:
    for name in ("state.py", "format.py", "shape.py", "intervals.py"):
        path = ROOT / "dashboard/spanledger_dashboard" / name
        assert "import streamlit" not in path.read_text(), name
    for path in (ROOT / "dashboard/spanledger_dashboard/charts").rglob("*.py"):
        assert "import streamlit" not in path.read_text(), path.name


def test_nothing_of_this_machine_or_its_registry_is_committed() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    hosts = re.compile(r"(pypi|files\.pythonhosted|registry\.npmjs)\.org|artifactory|(?<![\w.])/(work|farm|root)/")
    for name in files:
        path = ROOT / name
        if not name or not path.is_file() or path.suffix in {".pb", ".png", ".woff2"} or name.startswith("tests/data/"):
            continue
        if path == Path(__file__):
            continue
        found = hosts.search(path.read_text(errors="replace"))
        assert found is None, f"{name}: {found.group(0) if found else ''}"

"""The command `spanledger`: one command, to which every installed package contributes (extra: `spanledger[client]`).

Entries of the entry-point group `spanledger.commands`; the entry's name is the subcommand's. An entry is either

- a plain function whose parameters carry typer annotations (`Annotated[int, typer.Option(help="…")] = 4318`); the first line
  of its docstring is its help, or
- a `typer.Typer(help="…")`, for a group of subcommands.

It is imported only when it is run. The list of `spanledger --help` reads the help out of the source, so both must be
defined at the top level of the module that the entry names. An entry prints its own results and ends with one of these
exit codes, by returning (0) or raising `typer.Exit(code)`:

    0 done    1 it did not work    2 wrong usage    3 the collector cannot be reached

Any exception is shown as one line; if it has an integer `exit_code`, the process ends with that, else with 1 (3 for
`spanledger.client.Unreachable`). `SPANLEDGER_DEBUG=1` shows the traceback instead.
"""

import ast
import contextlib
import importlib.util
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, Final

GROUP: Final = "spanledger.commands"
OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3

# The commands of this package live in modules of their own: importing this one must cost nothing.
_MODULES: Final = {
    "alerts": "spanledger.cli._alerts",
    "audit": "spanledger.cli._keys",
    "backup": "spanledger.cli._projects",
    "doctor": "spanledger.cli._doctor",
    "erase": "spanledger.cli._projects",
    "keys": "spanledger.cli._keys",
    "prices": "spanledger.cli._prices",
    "projects": "spanledger.cli._projects",
    "query": "spanledger.cli._query",
    "reconcile": "spanledger.cli._reconcile",
    "reprice": "spanledger.cli._reprice",
    "tail": "spanledger.cli._tail",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that the arguments name.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    first = arguments[0] if arguments else "--help"
    if first in ("--help", "-h", "help"):
        _say(_overview(commands))
        return OK
    if first in ("--version", "-V"):
        _say(f"spanledger {version('spanledger')}")
        return OK
    entry = commands.get(first)
    if entry is None:
        _complain(f"there is no command {first!r}; there are: {', '.join(sorted(commands))}")
        return USAGE
    try:
        return _run(entry, arguments[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if os.environ.get("SPANLEDGER_DEBUG") == "1":
            raise
        _complain(_one_line(error))
        return _code_of(error)


def _run(entry: EntryPoint, arguments: list[str]) -> int:
    try:
        import typer

        target = entry.load()
    except ModuleNotFoundError as missing:
        if os.environ.get("SPANLEDGER_DEBUG") == "1":
            raise
        extra = "client" if entry.value.startswith("spanledger.cli") else "server"
        _complain(f"`spanledger {entry.name}` needs {missing.name}: pip install 'spanledger[{extra}]'")
        return FAILURE
    if isinstance(target, typer.Typer):
        app = target
        app.pretty_exceptions_enable = False
    else:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(target)
    try:
        app(args=arguments, prog_name=f"spanledger {entry.name}")
    except SystemExit as ended:
        if ended.code is None:
            return OK
        return ended.code if isinstance(ended.code, int) else FAILURE
    return OK


def _code_of(error: Exception) -> int:
    code = getattr(error, "exit_code", None)
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    client = sys.modules.get("spanledger.client")
    return UNREACHABLE if client is not None and isinstance(error, client.Unreachable) else FAILURE


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text[:2_000])


def _overview(commands: dict[str, EntryPoint]) -> str:
    width = max((len(name) for name in commands), default=0)
    lines = [f"  {name:<{width}}  {_summary(commands[name])}".rstrip() for name in sorted(commands)]
    head = """\
        Usage: spanledger COMMAND [ARGS]…

        The ledger of every AI interaction: what it cost, how it failed, how sure it was, what its users thought.

        Commands:
        """
    tail = "\n\n`spanledger COMMAND --help` says more. Options: --help, --version."
    return textwrap.dedent(head) + "\n".join(lines) + tail


def _summary(entry: EntryPoint) -> str:
    """One line of help, read from the source without importing it; empty if it cannot be had."""
    module = _MODULES.get(entry.attr, entry.module) if entry.module == __name__ else entry.module
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin:
            return ""
        tree = ast.parse(Path(spec.origin).read_text("utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").split("\n")[0]
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == entry.attr for target in targets):
                return _help_argument(node.value)
    return ""


def _help_argument(call: ast.Call) -> str:
    for keyword in call.keywords:
        if keyword.arg == "help" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value).split("\n")[0]
    return ""


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"spanledger: {text}\n")

"""`make bench`: every figure that design and README name, measured in one run and printed as a table.

`--quick` takes seconds where the full run takes minutes; `--only ingest` runs one part; `--json FILE` keeps the figures.
"""

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from figures import Figure
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))
PARTS = ("sdk", "outage", "prices", "ingest", "overload", "queries")


def main() -> int:
    """Run and print. The exit code is 0 when every target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    # Wide where nobody's window says otherwise: the table is read in logs too.
    console.width = max(console.width, 160)
    figures: list[Figure] = []
    for part in options.only or PARTS:
        started = time.perf_counter()
        with console.status(f"measuring {part} …"):
            figures += importlib.import_module(f"bench_{part}").run(options.quick)
        console.print(f"{part}: {time.perf_counter() - started:.0f} s", style="dim")
    table = Table(title="Spanledger, measured on this machine", show_lines=False)
    for name, justify in (("what", "left"), ("target", "right"), ("figure", "right"), ("met", "center"), ("how", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for figure in figures:
        met = "" if figure.met is None else "[green]yes[/]" if figure.met else "[red]no[/]"
        table.add_row(figure.what, figure.target, figure.figure, met, figure.note)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())

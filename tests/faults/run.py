"""The long form: `make faults`. Two hundred kills, every crash point, every trouble of the store and of the clock, power cuts and
full disks, with progress; ends with 1 at the first failure.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "kit"), str(TESTS / "faults")]

from crashing import POINTS, TROUBLES  # noqa: E402
from disk import Disk, is_possible  # noqa: E402
from mortal import Mortal  # noqa: E402
from test_faults import (  # noqa: E402
    SMALL_RESERVE,
    survive_crash,
    survive_full_disk,
    survive_kills,
    survive_power_cuts,
    survive_trouble,
)

KILLS_A_LIFE = 10
CUTS_A_LIFE = 5
RARE = ("before the manifest", "after the manifest")
"""Points that a collector comes to once at its start, and then too seldom to wait for."""


def live(kind: str, name: str, folder: Path, chance: random.Random) -> int:
    """One life of a collector; how many traces it acknowledged."""
    seed = chance.randrange(1 << 30)
    if kind in ("cut", "full"):
        disk = Disk(folder, mib=600)
        mortal = Mortal(disk.folder / "data", **SMALL_RESERVE)
    else:
        disk, mortal = None, Mortal(folder / "data")
    try:
        if disk is not None and kind == "cut":
            return survive_power_cuts(disk, mortal, CUTS_A_LIFE, seed)
        if disk is not None:
            return survive_full_disk(disk, mortal, seconds=chance.uniform(1, 3))
        if kind == "kill":
            return survive_kills(mortal, KILLS_A_LIFE, seed=seed)
        if kind == "trouble":
            return survive_trouble(mortal, name, seconds=chance.uniform(3, 8))
        return survive_crash(mortal, name, nth=chance.randint(1, 1 if name in RARE else 6))
    finally:
        mortal.stop()
        if disk is not None:
            disk.unmount()


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--points", type=int, default=2, help="how often each crash point is tried")
    parser.add_argument("--cuts", type=int, default=30, help="power cuts; half as many full disks")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    console = Console()
    console.print(f"seed {arguments.seed}")
    chance = random.Random(arguments.seed)
    lives = [("kill", str(number)) for number in range(arguments.kills // KILLS_A_LIFE)]
    lives += [("crash", point) for point in POINTS for _ in range(arguments.points)]
    lives += [("trouble", trouble) for trouble in TROUBLES for _ in range(arguments.points)]
    with tempfile.TemporaryDirectory() as probe:
        if is_possible(Path(probe) / "probe"):
            lives += [("cut", str(number)) for number in range(arguments.cuts // CUTS_A_LIFE)]
            lives += [("full", str(number)) for number in range(arguments.cuts // CUTS_A_LIFE // 2)]
        else:
            console.print("no power cuts and full disks: they take root and a loop device")
    traces = 0
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[what]}"), console=console) as progress:
        task = progress.add_task("faults", total=len(lives), what="")
        for kind, name in lives:
            progress.update(task, what=f"{kind} {name}")
            with tempfile.TemporaryDirectory(prefix="spanledger-faults-") as folder:
                try:
                    traces += live(kind, name, Path(folder), chance)
                except AssertionError as error:
                    console.print(f"[red]{kind} {name}: {error}[/red]")
                    return 1
            progress.advance(task)
    console.print(f"{traces:,} acknowledged traces of 41 spans each, all counted exactly once")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

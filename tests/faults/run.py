"""The long form: `make faults`. Two hundred kills and every crash point, with progress; ends with 1 at the first failure."""

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

from crashing import POINTS  # noqa: E402
from mortal import Mortal  # noqa: E402
from test_faults import survive_crash, survive_kills  # noqa: E402

KILLS_A_LIFE = 10


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--points", type=int, default=2, help="how often each crash point is tried")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    console = Console()
    console.print(f"seed {arguments.seed}")
    chance = random.Random(arguments.seed)
    lives = [("kill", str(number)) for number in range(arguments.kills // KILLS_A_LIFE)]
    lives += [("crash", point) for point in POINTS for _ in range(arguments.points)]
    traces = 0
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[what]}"), console=console) as progress:
        task = progress.add_task("faults", total=len(lives), what="")
        for kind, name in lives:
            progress.update(task, what=f"{kind} {name}")
            with tempfile.TemporaryDirectory(prefix="spanledger-faults-") as folder:
                mortal = Mortal(Path(folder) / "data")
                try:
                    if kind == "kill":
                        traces += survive_kills(mortal, KILLS_A_LIFE, seed=chance.randrange(1 << 30))
                    else:
                        traces += survive_crash(mortal, name, nth=chance.randint(1, 12))
                except AssertionError as error:
                    console.print(f"[red]{kind} {name}: {error}[/red]")
                    return 1
                finally:
                    mortal.stop()
            progress.advance(task)
    console.print(f"{traces:,} acknowledged traces of 41 spans each, all counted exactly once")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

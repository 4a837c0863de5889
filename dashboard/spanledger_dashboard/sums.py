"""A sum of money that says what it rests on: what is exact, what is estimated, and what is not in it.

An estimated part is never silently inside an exact sum: such a sum is written with `~`. One with unpriced parts is a lower
bound: it is written with `≥`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from spanledger_dashboard import format as fmt

AT_LEAST: Final = "≥"
ABOUT: Final = "~"
MEASURES: Final = ("cost_usd", "estimated_cost_usd", "unpriced_generations")
"""The measures that a sum needs to know what it rests on."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A cost, the part of it that is estimated, and how many generations have none. Money is in USD."""

    cost: Decimal | None
    estimated: Decimal
    unpriced: int

    @property
    def exact(self) -> Decimal | None:
        """The part that is not estimated."""
        return None if self.cost is None else self.cost - self.estimated

    @property
    def mark(self) -> str:
        """What is written before the amount; empty for a sum that is exact."""
        return (f"{AT_LEAST} " if self.unpriced else "") + (ABOUT if self.estimated else "")

    def text(self, *, compact: bool = False) -> str:
        """The amount with its mark."""
        return fmt.UNKNOWN if self.cost is None else f"{self.mark}{fmt.money(self.cost, compact=compact)}"

    @property
    def words(self) -> str:
        """What the sum rests on, for a table cell."""
        said = []
        if self.unpriced:
            said.append(f"{AT_LEAST} {fmt.count(self.unpriced)} unpriced")
        if self.estimated:
            said.append(f"{ABOUT} {fmt.money(self.estimated)} estimated")
        return ", ".join(said) or ("exact" if self.cost is not None else fmt.UNKNOWN)


def of(row: Mapping[str, Any]) -> Sum:
    """The sum of a row that holds `MEASURES`; what is missing counts as none."""
    cost, estimated = row.get("cost_usd"), row.get("estimated_cost_usd")
    return Sum(
        None if cost is None else Decimal(str(cost)),
        Decimal(0) if estimated is None else Decimal(str(estimated)),
        int(row.get("unpriced_generations") or 0),
    )


def of_steps(cost: Any, steps: Sequence[Mapping[str, Any]]) -> Sum:
    """The sum of one interaction: its cost, and the steps of `GET /api/v1/interactions/{id}` that it was added up from."""
    guessed = [Decimal(step["cost_usd"]) for step in steps if step["cost_status"] == "estimated" and step["cost_usd"] is not None]
    unknown = sum(step["cost_status"] == "unpriced" for step in steps)
    return Sum(None if cost is None else Decimal(str(cost)), sum(guessed, Decimal(0)), unknown)

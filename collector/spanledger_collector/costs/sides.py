"""The two sides of a reconciliation, laid side by side: a group for each day and model, money in 1e-12 USD. Pure."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from spanledger_collector.costs.bills.lines import KINDS, Bill, BillLine, What
from spanledger_collector.costs.bills.models import Model, known_as
from spanledger_collector.errors import InvalidQuestion

PICO: Final = 10**12
_PLACES: Final = 12
KNOWN: Final = "known"
ESTIMATED: Final = "estimated"
UNPRICED: Final = "unpriced"
_COSTS_WITH_QUANTITY: Final = "openai-costs"

Cell = tuple[str, str]
"""A model and a kind of tokens; the kind is empty where money or tokens are of all kinds together."""


class Traffic(NamedTuple):
    """What the ledger holds of one day, model and certainty."""

    day: date
    provider: str
    model: str
    certainty: str
    """`known`, `estimated` or `unpriced`."""
    calls: int
    silent: int
    """Calls that say nothing of their usage."""
    tokens: Mapping[str, int]
    cost_pico: Mapping[str, int]
    """By kind, `other` (fees), and `whole` for costs that came undivided."""
    is_own_price: bool = False
    """Whether the user's own price decided any of it."""
    mode: str = ""


@dataclass(slots=True)
class Group:
    """One day and model on both sides. An empty model is what no model is named for, or all models where the bill names none."""

    day: date
    provider: str
    model: str
    # The bill; None is what it does not say.
    billed: int | None = None
    listed: int | None = None
    money: dict[Cell, int] = field(default_factory=dict)
    lines: dict[Cell, int] = field(default_factory=dict)
    half_digit: Fraction = Fraction(0)
    """The most by which one of the bill's amounts may be rounded."""
    bill_tokens: dict[Cell, int] | None = None
    requests: int | None = None
    fees: int = 0
    credits: int = 0
    bill_names: set[str] = field(default_factory=set)
    bill_modes: dict[str, int] = field(default_factory=dict)
    # The ledger.
    calls: int = 0
    silent: int = 0
    tokens: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    priced_tokens: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    costs: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    whole: int = 0
    other: int = 0
    unpriced_tokens: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    unpriced_calls: int = 0
    estimated_tokens: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    estimated_cost: int = 0
    our_names: set[tuple[str, str]] = field(default_factory=set)
    our_modes: dict[str, int] = field(default_factory=dict)
    is_own_price: bool = False

    @property
    def ours(self) -> int:
        """What the calls of this group cost here, without fees."""
        return sum(self.costs.values()) + self.whole

    @property
    def is_empty(self) -> bool:
        """Whether neither side says anything of it."""
        has_tokens = self.bill_tokens is not None and any(self.bill_tokens.values())
        return not (self.calls or self.money or has_tokens or self.requests or self.fees or self.credits or self.other)

    @property
    def unmarked_modes(self) -> set[str]:
        """Ways of processing (batch, flex) that the bill has tokens of and that no call here is marked with."""
        return {mode for mode, number in self.bill_modes.items() if mode and number and self.calls and mode not in self.our_modes}

    @property
    def is_by_kind(self) -> bool:
        """Whether all of the bill's money is told by kind of tokens."""
        return bool(self.money) and all(kind for _, kind in self.money)

    def tolerance(self, cells: Iterable[Cell]) -> Fraction:
        """How far the money of some cells may lie apart by rounding alone; our own amounts are rounded by the call."""
        return self.half_digit * sum(self.lines.get(cell, 0) for cell in cells) + 2 * self.calls


@dataclass(slots=True)
class Sides:
    """All groups, and what was not compared."""

    groups: list[Group]
    days: list[date]
    has_money: bool
    has_tokens: bool
    left_out: list[Traffic]
    warnings: list[str]


def to_usd(bill: Bill, rates: Mapping[str, Decimal]) -> Bill:
    """A bill with all amounts in USD.

    Args:
        bill: The bill as read.
        rates: What one unit of other currencies is in USD.

    Raises:
        InvalidQuestion: it is in a currency that has no rate.
    """
    lines = []
    for line in bill.lines:
        if line.amount is None or line.currency == "USD":
            lines.append(line)
            continue
        rate = rates.get(line.currency)
        if rate is None:
            raise InvalidQuestion(
                f"The bill is in {line.currency[:10]}; say what one is in USD, such as {line.currency[:10]}=1.08."
            )
        listed = None if line.list_amount is None else line.list_amount * rate
        lines.append(line._replace(amount=line.amount * rate, list_amount=listed, currency="USD"))
    foreign = {line.currency for line in bill.lines if line.amount is not None} - {"USD"}
    coarsest = max((rates[currency] for currency in foreign), default=Decimal(1))
    return dataclasses.replace(bill, lines=lines, half_digit=bill.half_digit * Fraction(coarsest))


def lay_out(bills: Sequence[Bill], traffic: Iterable[Traffic]) -> Sides:
    """Both sides by day and model. Only days that the bills speak of, and providers that they bill, are compared."""
    warnings = [note for bill in bills for note in bill.notes]
    bills = [_without_parts_of_quantities(bill, bills) for bill in bills]
    has_money, has_tokens = any(bill.has_money for bill in bills), any(bill.has_tokens for bill in bills)
    money_days = {day for bill in bills if bill.has_money for day in bill.days}
    token_days = {day for bill in bills if bill.has_tokens for day in bill.days}
    days = money_days if has_money else token_days or {day for bill in bills for day in bill.days}
    if has_money and has_tokens and (apart := money_days ^ token_days):
        warnings.append(f"{len(apart)} days are in only one of usage and costs; usage without costs is not compared.")
    names = _Names(list(traffic), bills)
    lines = [line for bill in bills for line in bill.lines]
    by_model_money = any(line.model for line in lines if line.amount is not None and line.what is What.USAGE)
    by_model_tokens = any(line.model for line in lines if line.tokens is not None)
    if has_money and has_tokens and by_model_money and not by_model_tokens:
        warnings.append("The usage export is not by model: its tokens are not compared. Export it grouped by model.")
        has_tokens, token_days = False, set()
    is_by_model = by_model_money if has_money else by_model_tokens
    has_fees = any(line.what is What.FEE or line.kind for line in lines if line.amount is not None)
    layout = _Layout(is_by_model, by_model_tokens or (is_by_model and not has_tokens), has_fees, days, token_days)
    layout.providers |= {known_as(bill.provider, "").provider for bill in bills if bill.provider}
    for bill in bills:
        layout.half_digit = bill.half_digit * PICO
        for line in bill.lines:
            layout.add_line(line, names)
    left_out = [row for row in names.traffic if row.day in days and not layout.add_traffic(row)]
    groups = [layout.groups[key] for key in sorted(layout.groups) if not layout.groups[key].is_empty]
    for group in groups:
        _fill(group, has_money=has_money, has_tokens=group.day in token_days)
    if twice := _given_twice(bills):
        warnings.append(f"{twice} lines are in two of the files and are added up; are these exports of the same days?")
    return Sides(groups, sorted(days), has_money, has_tokens, left_out, warnings)


def _fill(group: Group, *, has_money: bool, has_tokens: bool) -> None:
    """What the bill would have said of a group that it does not name: nothing was used, nothing charged.

    Money without any line of usage is no such silence: an export of usage leaves out what it is not about, such as embeddings.
    """
    if has_money:
        group.billed = group.billed or 0
    if has_tokens and (group.bill_tokens is not None or not group.billed):
        group.bill_tokens = group.bill_tokens or {}
    else:
        group.bill_tokens, group.requests = None, None


def _without_parts_of_quantities(bill: Bill, bills: Sequence[Bill]) -> Bill:
    """OpenAI's costs may count tokens too: they serve for models of which all lines do, where no usage export does it better."""
    if bill.format != _COSTS_WITH_QUANTITY or not bill.has_tokens:
        return bill
    parts = {line.model for line in bill.lines if line.tokens is None and line.what is What.USAGE}
    if any(other.has_tokens for other in bills if other is not bill):
        parts = {line.model for line in bill.lines}
    return dataclasses.replace(bill, lines=[line._replace(tokens=None) if line.model in parts else line for line in bill.lines])


def _given_twice(bills: Sequence[Bill]) -> int:
    """How many lines of one file are in another as well, letter for letter."""
    seen: set[tuple[object, ...]] = set()
    twice = 0
    for bill in bills:
        mine = {
            (bill.format, *line._replace(tokens=None), *sorted((line.tokens or {}).items()))
            for line in bill.lines
            if line.amount or any((line.tokens or {}).values())
        }
        twice += len(mine & seen)
        seen |= mine
    return twice


class _Names:
    """Which models of the bill are which of the ledger's."""

    def __init__(self, traffic: list[Traffic], bills: Sequence[Bill]) -> None:
        self.traffic = traffic
        self.ours = {known_as(row.provider, row.model) for row in traffic}
        self._hosts: dict[str, set[str]] = defaultdict(set)
        for model in self.ours:
            self._hosts[model.name].add(model.provider)
        billed = {known_as(line.provider, line.model) for bill in bills for line in bill.lines if line.model}
        self._snapshots = {}
        for model in billed - self.ours:
            # The bill names a snapshot, the calls were recorded under the model's alias alone.
            if (alias := model.undated) != model and alias in self.ours and alias not in billed:
                self._snapshots[model] = alias

    def of_line(self, line: BillLine) -> Model:
        if not line.model:
            return Model(known_as(line.provider, "").provider, "")
        found = known_as(line.provider, line.model)
        if not line.provider and found not in self.ours and len(hosts := self._hosts.get(found.name, set())) == 1:
            return Model(next(iter(hosts)), found.name)
        return self._snapshots.get(found, found)


@dataclass(slots=True)
class _Layout:
    is_by_model: bool
    has_model_cells: bool
    has_fees: bool
    days: set[date]
    token_days: set[date]
    half_digit: Fraction = Fraction(0)
    groups: dict[tuple[date, str, str], Group] = field(default_factory=dict)
    providers: set[str] = field(default_factory=set)

    def _group(self, day: date, provider: str, model: str) -> Group:
        key = (day, provider, model if self.is_by_model else "")
        return self.groups.setdefault(key, Group(*key))

    def add_line(self, line: BillLine, names: _Names) -> None:
        model = names.of_line(line)
        self.providers.add(model.provider)
        if line.day not in self.days:
            return
        group = self._group(line.day, model.provider, model.name)
        cell_model = model.name if self.has_model_cells else ""
        if line.model:
            group.bill_names.add(line.model)
        if line.tokens is not None:
            group.bill_tokens = group.bill_tokens or defaultdict(int)
            for kind, number in line.tokens.items():
                group.bill_tokens[cell_model, kind] += number
            group.bill_modes[line.mode] = group.bill_modes.get(line.mode, 0) + sum(line.tokens.values())
        if line.requests is not None:
            group.requests = (group.requests or 0) + line.requests
        if line.amount is not None:
            self._add_money(group, (cell_model, line.kind), line)

    def _add_money(self, group: Group, cell: Cell, line: BillLine) -> None:
        amount = pico(line.amount)
        group.half_digit = max(group.half_digit, self.half_digit)
        if line.what is What.CREDIT:
            group.credits += amount
        elif line.what is What.FEE or (self.is_by_model and not line.model):
            group.fees += amount
        else:
            group.billed = (group.billed or 0) + amount
            group.money[cell] = group.money.get(cell, 0) + amount
            group.lines[cell] = group.lines.get(cell, 0) + 1
            listed = amount if line.list_amount is None else pico(line.list_amount)
            group.listed = (group.listed or 0) + listed

    def add_traffic(self, row: Traffic) -> bool:
        """Add what the ledger holds, unless the bills are of other providers."""
        model = known_as(row.provider, row.model)
        if model.provider not in self.providers and self.providers != {""}:
            return False
        provider = model.provider if model.provider in self.providers else ""
        group = self._group(row.day, provider, model.name)
        cell_model = model.name if self.has_model_cells else ""
        group.calls += row.calls
        group.silent += row.silent
        group.our_names.add((row.provider, row.model))
        group.our_modes[row.mode] = group.our_modes.get(row.mode, 0) + sum(row.tokens.values())
        group.is_own_price = group.is_own_price or row.is_own_price
        group.whole += row.cost_pico.get("whole", 0)
        fees = self._group(row.day, provider, "") if self.has_fees else group
        if self.has_fees:
            fees.other += row.cost_pico.get("other", 0)
        else:
            group.whole += row.cost_pico.get("other", 0)
        for kind in KINDS:
            self._add_kind(group, (cell_model, kind), row, row.tokens.get(kind, 0), row.cost_pico.get(kind, 0))
        if row.certainty == UNPRICED:
            group.unpriced_calls += row.calls
        elif row.certainty == ESTIMATED:
            group.estimated_cost += sum(row.cost_pico.values())
        return True

    def _add_kind(self, group: Group, cell: Cell, row: Traffic, tokens: int, cost: int) -> None:
        if tokens:
            group.tokens[cell] += tokens
            if row.certainty == UNPRICED:
                group.unpriced_tokens[cell] += tokens
            elif not row.cost_pico.get("whole"):
                group.priced_tokens[cell] += tokens
            if row.certainty == ESTIMATED:
                group.estimated_tokens[cell] += tokens
        if cost:
            group.costs[cell] += cost


def pico(amount: Decimal | None) -> int:
    """USD as whole 1e-12 USD."""
    return 0 if amount is None else int(amount.scaleb(_PLACES).to_integral_value())

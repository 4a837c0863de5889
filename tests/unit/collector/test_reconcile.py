"""Reconciliation: parts add up to the last digit whatever the bill is; each story of a difference gets its own name."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_collector.costs.bills.lines import KINDS, Bill, BillLine, What, half_digit
from spanledger_collector.costs.bills.read import Options, read_bill
from spanledger_collector.costs.reasons import Reason
from spanledger_collector.costs.reconcile import Reconciliation, reconcile
from spanledger_collector.costs.sides import ESTIMATED, KNOWN, UNPRICED, Traffic, to_usd
from spanledger_collector.errors import InvalidQuestion

MONDAY = date(2026, 11, 16)
PRICES = {"input": 2_500_000, "cache_read": 1_250_000, "cache_write": 2_500_000, "output": 10_000_000}
"""GPT-4o's, in 1e-12 USD per token."""


def day(number: int) -> date:
    return MONDAY + timedelta(days=number)


def ours(number: int = 0, calls: int = 1, model: str = "gpt-4o", certainty: str = KNOWN, **tokens: int) -> Traffic:
    costs = {} if certainty == UNPRICED else {kind: PRICES[kind] * count for kind, count in tokens.items()}
    return Traffic(day(number), "openai", model, certainty, calls, 0, tokens, costs)


def used(number: int = 0, requests: int | None = None, model: str = "gpt-4o", **tokens: int) -> BillLine:
    return BillLine(day(number), "openai", model, tokens=tokens, requests=requests)


def charged(number: int, amount: str | Decimal, kind: str = "", model: str = "gpt-4o", **more: Any) -> BillLine:
    return BillLine(day(number), "openai", model, kind, amount=Decimal(amount), **more)


def at_price(number: int = 0, factor: str = "1", **tokens: int) -> list[BillLine]:
    """A day's usage and its money by kind, at GPT-4o's price times a factor."""
    lines = [used(number, **tokens)]
    return lines + [
        charged(number, (Decimal(PRICES[kind] * count).scaleb(-12) * Decimal(factor)), kind) for kind, count in tokens.items()
    ]


def bill(lines: Iterable[BillLine]) -> Bill:
    lines = list(lines)
    return Bill("generic", lines, {line.day for line in lines}, half_digit=half_digit(lines))


def compare(lines: Iterable[BillLine], traffic: Iterable[Traffic]) -> Reconciliation:
    return reconcile([bill(lines)], traffic, lambda group, cell: Fraction(PRICES[cell[1]]) if cell[0] == "gpt-4o" else None)


def parts(found: Reconciliation) -> dict[str, str]:
    """The parts of the whole difference in USD."""
    sums: dict[Reason, int] = {}
    for item in found.differences:
        assert sum(item.parts.values()) == item.billed - item.ours
        for reason, money in item.parts.items():
            sums[reason] = sums.get(reason, 0) + money
    return {str(reason): format(Decimal(money).scaleb(-12).normalize(), "f") for reason, money in sums.items()}


# --- each story has its name ---------------------------------------------------------------------------------------------


def test_equal_sides_differ_by_nothing() -> None:
    found = compare(at_price(input=1_000, output=100), [ours(input=1_000, output=100)])
    assert parts(found) == {}
    assert found.found_share == 1.0
    assert found.overrides == []


def test_missing_spans_are_valued_at_the_price_that_is_paid() -> None:
    found = compare(at_price(input=3_000, output=200), [ours(input=1_000, output=200)])
    assert parts(found) == {"missing_spans": "0.005"}
    assert found.found_share == pytest.approx(1_200 / 3_200)
    assert found.overrides == [], "no price is wrong"


def test_a_model_that_is_not_recorded_at_all() -> None:
    found = compare([charged(0, "7.25", model="o3"), *at_price(input=1_000)], [ours(input=1_000)])
    assert parts(found) == {"missing_spans": "7.25"}


def test_more_here_than_billed() -> None:
    assert parts(compare(at_price(input=1_000), [ours(calls=2, input=2_000)])) == {"counted_more": "-0.0025"}
    other = ours(model="gpt-4o-mini", input=1_000_000)
    assert parts(compare(at_price(input=1_000), [ours(input=1_000), other])) == {"counted_more": "-2.5"}


def test_unpriced_calls_and_the_price_that_would_end_it() -> None:
    lines = [used(model="house", input=1_000_000, output=100_000), charged(0, "2", "input", "house")]
    lines.append(charged(0, "0.8", "output", "house"))
    found = compare(lines, [ours(model="house", certainty=UNPRICED, input=1_000_000, output=100_000)])
    assert parts(found) == {"unpriced": "2.8"}
    (override,) = found.overrides
    assert (override.multiplier, override.prices) == (None, {"input": Decimal(2), "output": Decimal(8)})
    assert "prices set house -p openai -P input=2 -P output=8 --from 2026-11-16" in override.command


def test_usage_that_was_estimated() -> None:
    lines = at_price(input=1_000, output=150)
    assert parts(compare(lines, [ours(certainty=ESTIMATED, input=1_000, output=100)])) == {"estimated_usage": "0.0005"}
    assert parts(compare(lines, [ours(certainty=ESTIMATED, input=1_000, output=200)])) == {"estimated_usage": "-0.0005"}
    # With the number of requests it is known that a call is missing.
    lines = [used(requests=2, output=400), charged(0, "0.004", "output")]
    found = parts(compare(lines, [ours(certainty=ESTIMATED, output=100)]))
    assert found == {"missing_spans": "0.002", "estimated_usage": "0.001"}


def test_calls_without_usage_are_unpriced_and_not_missing() -> None:
    silent = Traffic(MONDAY, "openai", "gpt-4o", UNPRICED, 1, 1, {}, {})
    lines = [used(requests=2, input=2_000), charged(0, "0.005", "input")]
    assert parts(compare(lines, [ours(input=1_000), silent])) == {"unpriced": "0.0025"}


@pytest.mark.parametrize("factor", ["0.82", "0.5", "0.9375"])
def test_a_discount_throughout_is_one_multiplier(factor: str) -> None:
    lines = [line for number in range(3) for line in at_price(number, factor, input=10_000, output=700 + number)]
    found = compare(lines, [ours(number, input=10_000, output=700 + number) for number in range(3)])
    assert set(parts(found)) == {"discount"}
    (override,) = found.overrides
    assert override.multiplier == Decimal(factor)
    assert override.command.endswith(f"--multiplier {factor} --from 2026-11-16 --note 'from the bill'")


def test_another_price_of_one_kind() -> None:
    lines = [*at_price(input=1_000_000), used(output=1_000_000), charged(0, "12", "output")]
    found = compare(lines, [ours(input=1_000_000, output=1_000_000)])
    assert parts(found) == {"different_price": "2"}
    assert found.overrides[0].prices == {"input": Decimal("2.5"), "output": Decimal(12)}


def test_money_by_model_alone_gives_a_multiplier() -> None:
    lines = [line for n in range(2) for line in (used(n, input=1_000_000 + n, output=1_000), charged(n, "3"))]
    traffic = [ours(n, input=1_000_000 + n, output=1_000) for n in range(2)]
    found = compare(lines, traffic)
    assert set(parts(found)) == {"different_price"}
    assert found.overrides[0].multiplier is not None


def test_a_list_price_beside_the_cost_is_a_discount() -> None:
    lines = [used(input=1_000_000), charged(0, "2", "input", list_amount=Decimal("2.5"))]
    found = compare(lines, [ours(input=1_000_000)])
    assert parts(found) == {"discount": "-0.5"}
    assert found.overrides[0].multiplier == Decimal("0.8")


def test_credits_and_fees_stand_apart() -> None:
    lines = [*at_price(input=1_000), charged(0, "-5", what=What.CREDIT), charged(0, "0.3", model="", what=What.FEE)]
    assert parts(compare(lines, [ours(input=1_000)])) == {"fees": "0.3", "credits": "-5"}
    searched = ours(input=1_000)
    searched = searched._replace(cost_pico={**searched.cost_pico, "other": 300_000_000_000})
    assert parts(compare(lines, [searched])) == {"credits": "-5"}


def test_what_cancels_between_days_is_an_edge_of_days() -> None:
    lines = [*at_price(0, input=1_000), *at_price(1, input=1_000), *at_price(2, input=1_000)]
    found = compare(lines, [ours(0, input=1_300), ours(1, input=700), ours(2, input=1_000)])
    assert parts(found) == {"day_edge": "0"}
    assert [item.parts.get(Reason.DAY_EDGE) for item in found.differences if item.group.model] == [
        -750_000_000,
        750_000_000,
        None,
    ]
    # A day further apart is none.
    assert set(parts(compare(lines, [ours(0, input=1_300), ours(1, input=1_000), ours(2, input=700)]))) == {
        "missing_spans",
        "counted_more",
    }


def test_a_bill_in_cents_agrees_within_its_digits() -> None:
    lines = [used(input=123_456, output=7_890), charged(0, "0.31", "input"), charged(0, "0.08", "output")]
    found = compare(lines, [ours(input=123_456, output=7_890)])
    assert set(parts(found)) == {"rounding"}
    assert found.overrides == []


def test_a_usage_export_says_nothing_of_how_money_is_rounded() -> None:
    costs = bill([charged(0, "0.00123", "input")])
    found = reconcile([bill([used(input=1_000)]), costs], [ours(input=1_000)], lambda group, cell: None)
    assert set(parts(found)) == {"discount"}


def test_money_without_tokens_explains_little_and_says_so() -> None:
    assert parts(compare([charged(0, "0.004")], [ours(input=1_000)])) == {"unexplained": "0.0015"}
    assert parts(compare([charged(0, "0.004")], [ours(input=1_000, certainty=UNPRICED)])) == {"unpriced": "0.004"}
    # But one factor on several days is a price.
    lines = [charged(number, Decimal("0.0020") * (number + 1)) for number in range(3)]
    found = compare(lines, [ours(number, input=1_000 * (number + 1)) for number in range(3)])
    assert set(parts(found)) == {"discount"}
    assert found.overrides[0].multiplier == Decimal("0.8")


def test_usage_without_money_is_valued() -> None:
    found = compare([used(input=3_000)], [ours(input=1_000)])
    assert (found.sides.has_money, parts(found)) == (False, {"missing_spans": "0.005"})
    assert parts(compare([used(input=1_000)], [ours(input=1_000)])) == {}


def test_a_bill_that_names_no_model_is_compared_by_the_day() -> None:
    total = BillLine(MONDAY, "openai", amount=Decimal("0.0125"))
    traffic = [ours(input=1_000), ours(model="gpt-4o-mini", input=4_000)]
    assert parts(compare([total], traffic)) == {}
    lines = [total._replace(amount=Decimal("0.0150")), used(input=2_000), used(model="gpt-4o-mini", input=4_000)]
    assert parts(compare(lines, traffic)) == {"missing_spans": "0.0025"}


def test_other_providers_and_other_days_are_left_out() -> None:
    other = ours(input=1_000)._replace(provider="anthropic", model="claude-sonnet-4-5")
    found = compare(at_price(input=1_000), [ours(input=1_000), ours(5, input=9), other])
    assert parts(found) == {}
    assert found.sides.left_out == [other]


def test_names_meet_and_snapshots_find_their_alias() -> None:
    lines = [used(model="gpt-4o-2024-08-06", input=1_000), charged(0, "0.0025", "input", "gpt-4o-2024-08-06")]
    assert parts(compare(lines, [ours(input=1_000)])) == {}
    lines = [line._replace(model="Claude Sonnet 4.5", provider="anthropic") for line in lines]
    claude = ours(input=1_000)._replace(provider="anthropic", model="claude-sonnet-4-5-20250929")
    assert parts(compare(lines, [claude])) == {}
    lines = [line._replace(model="gpt-4o-2024-05-13") for line in at_price(input=1_000)]
    assert parts(compare(lines, [ours(input=1_000)])) == {}, "calls recorded under the alias alone"


def test_money_for_which_the_usage_export_has_no_line_is_compared_as_money() -> None:
    embedded = ours(model="text-embedding-3-small", input=50_000)
    embedded = embedded._replace(cost_pico={"input": 1_000_000_000})
    lines = [*at_price(input=1_000), charged(0, "0.001", "input", "text-embedding-3-small")]
    assert parts(compare(lines, [ours(input=1_000), embedded])) == {}


def test_a_bill_of_nothing_is_a_bill() -> None:
    text = "start_time,end_time,amount_value,amount_currency,line_item\n1795132800,1795219200,,,\n"
    idle = read_bill(text, Options())
    other = ours(4, input=1_000)._replace(provider="anthropic", model="claude-sonnet-4-5")
    found = reconcile([idle], [ours(4, input=1_000), other], lambda group, cell: None)
    assert found.sides.left_out == [other]
    assert parts(found) == {"counted_more": "-0.0025"}


def test_quantities_serve_for_models_of_which_every_line_has_one() -> None:
    lines = [
        charged(0, "0.0025", "input", tokens={"input": 1_000}),
        charged(0, "0.006", "", "whisper-1"),
    ]
    costs = Bill("openai-costs", lines, {MONDAY}, half_digit=half_digit(lines))
    found = reconcile([costs], [ours(input=400)], lambda group, cell: None)
    assert parts(found) == {"missing_spans": "0.0075"}
    assert found.found_share == 0.4
    usage = bill([used(input=400)])
    assert set(parts(reconcile([costs, usage], [ours(input=400)], lambda group, cell: None))) == {
        "missing_spans",
        "different_price",
    }


def test_lines_that_are_in_two_files_are_said() -> None:
    lines = at_price(input=1_000)
    found = reconcile([bill(lines), bill([*lines, charged(1, "1")])], [], lambda group, cell: None)
    assert any("2 lines are in two of the files" in warning for warning in found.sides.warnings)


def test_other_currencies_need_a_rate() -> None:
    euros = bill([charged(0, "10", currency="EUR")])
    with pytest.raises(InvalidQuestion, match=r"EUR=1\.08"):
        to_usd(euros, {})
    assert to_usd(euros, {"EUR": Decimal("1.1")}).lines[0].amount == Decimal("11.0")


def test_the_price_of_a_batch_is_proposed_for_batches_only() -> None:
    lines = [used(input=1_000_000)._replace(mode="batch"), charged(0, "1.25", "input")]
    found = compare(lines, [ours(input=1_000_000)])
    assert parts(found) == {"discount": "-1.25"}
    assert found.overrides == [], "it would be wrong for all other calls"
    marked = ours(input=1_000_000)._replace(mode="batch")
    assert compare(lines, [marked]).overrides[0].multiplier == Decimal("0.5")


def test_hostile_names_are_quoted_in_commands() -> None:
    name = "x'; rm -rf $HOME #"
    lines = [used(model=name, input=1_000_000), charged(0, "2", "input", name)]
    (override,) = compare(lines, [ours(model=name, certainty=UNPRICED, input=1_000_000)]).overrides
    assert "'x'\"'\"'; rm -rf $HOME #'" in override.command


# --- laws ----------------------------------------------------------------------------------------------------------------

COUNTS = st.integers(0, 10**9)
TOKENS = st.dictionaries(st.sampled_from(KINDS), COUNTS, max_size=4)
MODELS = st.sampled_from(["gpt-4o", "gpt-4o-mini", "house", ""])
AMOUNTS = st.decimals(-1_000, 10_000, places=6) | st.decimals(0, 100, places=2)
LINES = st.builds(
    BillLine,
    st.integers(0, 4).map(day),
    st.sampled_from(["openai", ""]),
    MODELS,
    st.sampled_from(["", *KINDS]),
    st.sampled_from(list(What)),
    st.none() | TOKENS,
    st.none() | st.integers(0, 50),
    st.none() | AMOUNTS,
    st.none() | AMOUNTS,
)


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    tokens = draw(TOKENS)
    certainty = draw(st.sampled_from([KNOWN, ESTIMATED, UNPRICED]))
    costs: dict[str, int] = {}
    if certainty != UNPRICED:
        costs = {kind: count * draw(st.integers(0, 10**7)) for kind, count in tokens.items()}
        if draw(st.booleans()):
            costs = {"whole": draw(st.integers(0, 10**13)), "other": draw(st.integers(0, 10**12))}
    calls = draw(st.integers(1, 40))
    silent = draw(st.integers(0, calls)) if certainty == UNPRICED else 0
    name = draw(MODELS)
    return Traffic(
        day(draw(st.integers(0, 4))), draw(st.sampled_from(["openai", "vllm"])), name, certainty, calls, silent, tokens, costs
    )


BILLS = st.lists(st.lists(LINES, min_size=1, max_size=12).map(bill), min_size=1, max_size=3)


def listed(group: Any, cell: Any) -> Fraction | None:
    return Fraction(PRICES["input"]) if cell[0] == "gpt-4o" else None


def shown(found: Reconciliation) -> list[Any]:
    return [
        (item.group.day, item.group.provider, item.group.model, item.billed, item.ours, item.parts) for item in found.differences
    ]


@given(bills=BILLS, traffic=st.lists(traffics(), max_size=15))
def test_parts_add_up_whatever_the_bill_says(bills: list[Bill], traffic: list[Traffic]) -> None:
    found = reconcile(bills, traffic, listed)
    parts(found)
    if found.sides.has_money:
        days = set(found.sides.days)
        billed = sum((line.amount or 0) for one in bills for line in one.lines if line.day in days)
        assert sum(item.billed for item in found.differences) == billed * 10**12
    left = sum(sum(row.cost_pico.values()) for row in found.sides.left_out)
    held = sum(sum(row.cost_pico.values()) for row in traffic if row.day in set(found.sides.days))
    assert sum(item.ours for item in found.differences) + left == held


@given(lines=st.lists(LINES, min_size=1, max_size=12), traffic=st.lists(traffics(), max_size=12), data=st.data())
def test_the_order_of_rows_does_not_matter(lines: list[BillLine], traffic: list[Traffic], data: st.DataObject) -> None:
    one = reconcile([bill(lines)], traffic, listed)
    other = reconcile([bill(data.draw(st.permutations(lines)))], data.draw(st.permutations(traffic)), listed)
    assert shown(one) == shown(other)
    assert one.overrides == other.overrides


@given(traffic=st.lists(traffics().filter(lambda row: row.provider == "openai" and row.model != ""), min_size=1, max_size=12))
def test_the_ledger_exported_as_a_bill_reconciles_to_nothing(traffic: list[Traffic]) -> None:
    lines = [
        BillLine(
            row.day,
            "openai",
            row.model,
            tokens=row.tokens,
            requests=row.calls,
            amount=Decimal(sum(row.cost_pico.values())).scaleb(-12),
        )
        for row in traffic
    ]
    found = reconcile([bill(lines)], traffic, listed)
    assert parts(found) == {}
    assert found.overrides == []

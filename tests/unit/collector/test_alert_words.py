"""What an alert says: amounts as people write them."""

from decimal import Decimal

import pytest

from spanledger_collector.alerts.evaluate import in_words
from spanledger_schema.units import Unit


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, Unit.USD, "unknown"),
        (Decimal("0.5"), Unit.USD, "$0.50"),
        (Decimal("0"), Unit.USD, "$0.00"),
        (Decimal("1234.5"), Unit.USD, "$1,234.50"),
        (Decimal("0.004200"), Unit.USD, "$0.0042"),
        (Decimal("0.52533"), Unit.USD, "$0.525"),
        (0.048, Unit.RATIO, "4.8%"),
        (Decimal("7"), Unit.COUNT, "7"),
    ],
)
def test_a_value_is_written_with_its_unit(value: Decimal | float | None, unit: Unit, words: str) -> None:
    assert in_words(value, unit) == words

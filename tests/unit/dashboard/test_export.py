import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from spanledger_dashboard import export
from spanledger_dashboard.state import Filters, from_params, window

NOW = datetime(2026, 11, 22, 14, 3, 22, tzinfo=UTC)


def read(frame):
    return list(csv.reader(io.StringIO(export.csv(frame).decode())))


@given(st.lists(st.tuples(st.text(), st.sampled_from(["=1+1", "+1", "-2", "@SUM(A1)", "\tx", "\rx", "plain"])), min_size=1))
def test_no_cell_of_text_is_computed_by_a_spreadsheet(rows):
    frame = pl.DataFrame(rows, schema={"first": pl.String, "second": pl.String}, orient="row")
    body = export.csv(frame).decode()
    parsed = list(csv.reader(io.StringIO(body, newline="")))[1:]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cells in parsed for cell in cells)


def test_numbers_stay_numbers_and_unknown_stays_empty():
    frame = pl.DataFrame({"n": [-1.5, None], "usd": [Decimal("-0.000000000001"), None], "name": ["=x", None]})
    assert read(frame) == [["n", "usd", "name"], ["-1.5", "-0.000000000001", "'=x"], ["", "", ""]]


def test_lists_of_words_are_one_cell_and_small_charts_are_left_out():
    frame = pl.DataFrame({"state": [["New", "Rising"], []], "trend": [[1.0, 2.0], [3.0]], "at": [NOW, None]})
    assert read(frame) == [["state", "at"], ["New; Rising", "2026-11-22T14:03:22+00:00"], ["", ""]]


def test_a_link_shows_its_receiver_the_page_and_a_fixed_one_the_same_times_later():
    chosen = Filters(range="7d", compare="a year before", choices={"tag": ("tier=a b&c",), "feature": ("search",)})
    within = window(chosen, NOW, "UTC")
    of_page = {"c_by": ["Feature"], "range": ["stale"], "tag": ["stale=1"]}
    relative = urlsplit(export.link("http://x/costs?old=1", chosen, of_page))
    assert (relative.path, parse_qs(relative.query)["c_by"]) == ("/costs", ["Feature"])
    assert from_params(parse_qs(relative.query)) == chosen
    fixed = from_params(parse_qs(urlsplit(export.link("http://x/costs", chosen, of_page, within)).query))
    assert (fixed.start, fixed.choices, fixed.compare) == (within.start, chosen.choices, chosen.compare)
    assert window(fixed, NOW.replace(year=2027), "UTC").start == within.start


def test_a_file_says_page_table_and_days():
    within = window(Filters(range="7d"), NOW, "UTC")
    assert (
        export.file_name("costs", "By prompt version!", within) == "spanledger_costs_by-prompt-version_2026-11-15_2026-11-22.csv"
    )

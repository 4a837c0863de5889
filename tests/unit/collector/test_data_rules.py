"""Rules in any order mean the same; what waits on disk is what was decoded; what cannot be known is not kept."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otlp_kit import Recorded, S, recorded, request
from words import CUT, KEPT, NAME, STRIPPED, recorded_with

from spanledger_collector.errors import StoreUnavailable
from spanledger_collector.governance.data_rules import ACTIONS, DataRule, DataRules
from spanledger_collector.ingest import otlp_json
from spanledger_collector.ingest.classes import Classes
from spanledger_collector.ingest.decoded import Decoded
from spanledger_collector.ingest.intake import JSON, PROTOBUF, Intake
from spanledger_collector.ingest.normalize import normalise
from spanledger_collector.ingest.otlp import Decoder
from spanledger_collector.ingest.privacy import enforce
from spanledger_collector.store.rule_book import RuleBook
from spanledger_schema.content import MESSAGE_KEYS, is_content, is_words

NAMES = st.sampled_from([None, "", "secret", "Secret ", "open"])
RULES = st.lists(st.builds(DataRule, NAMES, NAMES, st.sampled_from(list(ACTIONS))), max_size=6)
NOW = 1_790_000_000_000_000_000


@given(RULES, st.sampled_from(["", "secret", "open", "x"]), st.sampled_from(["", "secret", "SECRET"]), st.randoms())
def test_the_strictest_matching_rule_holds_whatever_the_order(
    rules: list[DataRule], data_class: str, purpose: str, chance: random.Random
) -> None:
    shuffled = chance.sample(rules, len(rules))
    found = DataRules(rules).action(data_class, purpose)
    assert DataRules(shuffled).action(data_class, purpose) == found
    each = [DataRules([rule]).action(data_class, purpose) for rule in rules]
    order = [*ACTIONS, None]
    assert found == min(each, key=order.index, default=None)


def spans_of(decoded: Decoded) -> list[Any]:
    return [
        (
            group.resource,
            group.scope,
            group.scope_version,
            {name: getattr(span, name) for name in span.__slots__ if name != "digest"},
        )
        for group in decoded.groups
        for span in group.spans
    ]


@pytest.mark.parametrize("payload", list(recorded()), ids=str)
def test_spans_and_records_survive_being_written_down(payload: Recorded) -> None:
    decoder = Decoder()
    decoded = decoder.spans(payload.body)
    again = otlp_json.decode_spans(otlp_json.encode_spans(decoded), 100_000)
    # Some count in NaN, which equals nothing.
    assert repr(spans_of(again)) == repr(spans_of(decoded))
    for group, other in zip(decoded.groups, again.groups, strict=True):
        for span, same in zip(group.spans, other.spans, strict=True):
            row, content = normalise(group, span, "p", NOW)
            row_again, content_again = normalise(other, same, "p", NOW)
            assert row[:-1] == row_again[:-1]
            assert (content or ())[:-1] == (content_again or ())[:-1]
    if payload.logs:
        records = decoder.logs(payload.logs)
        assert otlp_json.decode_logs(otlp_json.encode_logs(records)) == records


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=10), VALUES, max_size=5))
def test_any_attribute_survives_being_written_down(given_: dict[str, Any]) -> None:
    decoded = Decoder().spans(request(S(1, attrs=given_, events=[("e", 0.5, given_)])))
    assert spans_of(otlp_json.decode_spans(otlp_json.encode_spans(decoded), 10)) == spans_of(decoded)


def intake(*rules: DataRule) -> Intake:
    book = DataRules(rules)
    return Intake(decompressed_bytes_max=1 << 24, spans_max=10_000, rules_of=lambda project: book if project == "ruled" else None)


@given(VALUES)
def test_no_value_gets_content_past_a_rule(value: Any) -> None:
    secret = "ada@example.org"
    hidden = {
        "gen_ai.input.messages": [value, secret],
        "a.prompt": {"k": [secret, value]},
        "note": secret,
        secret: 1,
    }
    body = request(
        S(1, name=secret, attrs=hidden, message=secret, status=2, events=[("e", 0.1, hidden)]), resource={"x": [secret]}
    )
    for action in ("strip", "mask", "redact"):
        parcel, rejected = intake(DataRule(None, None, action)).traces(body, PROTOBUF, "", "ruled", NOW)  # type: ignore[arg-type]
        assert parcel is not None
        assert rejected == {}
        kept = json.dumps(json.loads(parcel.body or b""))
        rows = str(parcel.rows) + str(parcel.content.to_pylist() if parcel.content else "")
        # The name of an attribute is the program's own, not what somebody wrote.
        assert secret not in kept.replace(f'"key": "{secret}"', "")
        assert secret not in rows.replace(f"'{secret}': '1'", "")


def test_without_rules_nothing_is_touched_and_nothing_is_written_down_anew() -> None:
    parcel, _ = intake(DataRule(None, None, "deny")).traces(request(S(1)), PROTOBUF, "", "other", NOW)
    assert parcel is not None
    assert parcel.body is None
    parcel, rejected = intake(DataRule("x", None, "deny")).traces(request(S(1)), PROTOBUF, "", "ruled", NOW)
    assert parcel is not None
    assert (parcel.body, rejected) == (None, {}), "the rule is about others"


def test_what_was_written_down_goes_through_the_rules_again_unchanged() -> None:
    attrs = {"gen_ai.input.messages": '[{"role":"user","content":"my mail is ada@example.org"}]', "input.value": "plain"}
    for action in ("strip", "mask", "redact"):
        reader = intake(DataRule(None, None, action))  # type: ignore[arg-type]
        once, _ = reader.traces(request(S(1, attrs=attrs)), PROTOBUF, "", "ruled", NOW)
        assert once is not None
        assert once.body is not None
        twice, _ = reader.traces(once.body, JSON, "", "ruled", NOW)
        assert twice is not None
        assert twice.body == once.body


def test_a_loop_of_parents_ends() -> None:
    body = request(S(1, 2), S(2, 1))
    parcel, _ = intake(DataRule("", None, "deny")).traces(body, PROTOBUF, "", "ruled", NOW)
    assert parcel is None


def test_what_the_collector_keeps_as_content_is_content_to_every_rule() -> None:
    for key in MESSAGE_KEYS:
        assert is_content(key), key
    for key in ("gen_ai.prompt.0.content", "llm.input_messages.0.message.content", "llm.openai.messages", "ai.prompt.format"):
        assert is_content(key), key
    for key in (
        "gen_ai.usage.input_tokens",
        "llm.token_count.prompt",
        "llm.usage.total_tokens",
        "gen_ai.request.model",
        "http.status",
    ):
        assert not is_content(key), key


class Away:
    """A store that does not answer."""

    def read(self, sql: str, parameters: Any = None) -> Any:
        raise StoreUnavailable("away")


def test_where_nobody_knows_the_rules_nothing_is_taken_and_the_cache_is_believed(tmp_path: Path) -> None:
    cache = tmp_path / "rules.json"
    book = RuleBook(Away(), cache, watches=False)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        book.reload()
    book.recall()
    with pytest.raises(StoreUnavailable, match="data rules"):
        book.of("p")
    reader = Intake(decompressed_bytes_max=1 << 20, spans_max=10, rules_of=book.of)
    for read in (reader.traces, reader.logs):
        with pytest.raises(StoreUnavailable):
            read(request(S(1)), PROTOBUF, "", "p", NOW)
    cache.write_text('{"p": [["secret", null, "deny"]]}')
    book.recall()
    rules = book.of("p")
    assert rules is not None
    assert rules.action("secret", "") == "deny"
    assert book.of("q") is None


def test_all_pairs_of_a_thousand_names_stay_bounded() -> None:
    rules = DataRules([DataRule("n7", None, "strip")])
    for one, other in itertools.product(range(60), range(60)):
        assert rules.action(f"n{one}", f"p{other}") == ("strip" if one == 7 else None)
    assert len(rules._actions) <= 1_000


@pytest.mark.parametrize(
    "stated", ["restricted", " Restricted\t", "restricted\u00a0", "\ufeffrestricted", "restr\u200bicted", "\uff52estricted"]
)
def test_what_looks_like_a_class_is_that_class(stated: str) -> None:
    rules = DataRules([DataRule("Restricted", None, "deny")])
    assert rules.action(stated, "") == "deny"
    assert rules.action(f"open\n{stated}", "") == "deny", "of several the strictest"
    assert rules.action("unrestricted", "") is None


@pytest.mark.parametrize("action", ["strip", "mask"])
def test_what_somebody_may_have_written_goes_and_names_and_numbers_stay(action: Any) -> None:
    before = recorded_with({**KEPT, **{key: value for key, (value, _) in CUT.items()}, **STRIPPED})
    decoded = Decoder(10).spans(request(S(1, name=NAME[0], attrs=before, status=2, message="WORDS")))
    assert enforce(decoded, DataRules([DataRule("restricted", None, action)]), "p", Classes())
    (span,) = decoded.groups[0].spans
    assert "WORDS" not in f"{span.name} {span.attributes} {span.status_message}"
    assert span.name == NAME[1]
    for key, value in KEPT.items():
        if key not in STRIPPED:
            assert span.attributes[key] == value, key
    for key, (_, left) in CUT.items():
        assert span.attributes[key] == (left if action == "strip" else f"{left}?[masked]"), key
    if action == "strip":
        assert not set(STRIPPED) & set(span.attributes)


def test_a_reason_of_one_word_stays() -> None:
    for key, value in KEPT.items():
        assert not is_words(key, value), key
    for key, value in STRIPPED.items():
        assert is_words(key, value), key


def test_only_traces_are_looked_at_again_in_which_a_class_may_have_come_late() -> None:
    rules, classes = DataRules([DataRule("restricted", None, "strip")]), Classes()
    said = {"spanledger.data_class": "restricted"}

    def take(*spans: S, minutes: int) -> set[str]:
        enforce(Decoder(100).spans(request(*spans)), rules, "p", classes, 1 + minutes * 60 * 10**9)
        return {trace for _, trace in classes.take_late()}

    one, two, three, four = (f"{n:032x}" for n in range(1, 5))
    assert take(S(1, trace=1, attrs=said), minutes=0) == {one}, "what came before the start nobody knows"
    assert take(S(2, 1, trace=2, attrs=said), S(1, trace=2, attrs=said), minutes=10) == set(), "each says it"
    assert take(S(2, 1, trace=3), S(1, trace=3), minutes=10) == set(), "nobody else can say it"
    assert take(S(1, trace=3, attrs=said), minutes=10) == set()
    assert take(S(2, 1, trace=4), minutes=10) == set()
    assert take(S(1, trace=4, attrs=said), minutes=10) == {four}, "after its child"
    assert take(S(9, 8, trace=2), minutes=10) == {two}, "a stranger among those who say it"
    assert classes.inherited("p", (four, f"{1:016x}")) == ("restricted", "")
    assert three not in str(classes._late)
    for number in range(50_010):
        classes.meet("p", str(number), 1, is_open=True, is_ruled=True)
    assert max(map(len, (classes._open, classes._ruled, classes._late))) == 50_000

"""Secrets are gone wherever they stand, other text is as it was, and no text makes the search slow."""

import importlib.util
import json
import random
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanledger_schema import redaction
from spanledger_schema.content import SECRET_KINDS
from spanledger_schema.redaction import redact

sys.path.insert(0, str(Path(__file__).parent))
from steps import Counted

ALNUM = string.ascii_letters + string.digits


def luhn_completed(digits: str) -> str:
    return next(digits + last for last in string.digits if redaction._passes_luhn(digits + last))


def iban_of(country: str, account: str) -> str:
    number = int("".join(str(int(character, 36)) for character in account + country + "00"))
    return f"{country}{98 - number % 97:02d}{account}"


def grouped(text: str, separator: str) -> str:
    return separator.join(text[at : at + 4] for at in range(0, len(text), 4))


def key_of(prefix: str, count: int) -> st.SearchStrategy[str]:
    """A key with all three kinds of characters, as random ones have."""
    middle = st.text(ALNUM, min_size=count, max_size=count)
    return middle.map(lambda text: f"{prefix}a7Q{text}")


PREFIXES = (
    "sk-",
    "sk-proj-",
    "sk-ant-api03-",
    "sk_live_",
    "ghp_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "hf_",
    "gsk_",
    "AIza",
    "sl_0123456789_",
)
SECRETS: dict[str, st.SearchStrategy[str]] = {
    "api_key": st.one_of(
        *(key_of(prefix, 32) for prefix in PREFIXES),
        st.text(string.ascii_uppercase + string.digits, min_size=15, max_size=15).map(lambda text: f"AKIA{text}7"),
        st.tuples(key_of("eyJ", 20), key_of("eyJ", 30), key_of("", 40)).map(".".join),
    ),
    "card": st.tuples(
        st.sampled_from(["4", "51", "2221", "3528"]),
        st.text(string.digits, min_size=15, max_size=15),
        st.sampled_from(["", " ", "-"]),
    ).map(lambda parts: grouped(luhn_completed((parts[0] + parts[1])[:15]), parts[2])),
    "iban": st.tuples(
        st.sampled_from([("DE", 18), ("FR", 23), ("NL", 14), ("GB", 18)]),
        st.text(string.digits, min_size=30, max_size=30),
        st.sampled_from(["", " "]),
    ).map(lambda parts: grouped(iban_of(parts[0][0], parts[1][: parts[0][1]]), parts[2])),
    "email": st.tuples(
        st.text(ALNUM, min_size=1, max_size=30), st.sampled_from(["example.com", "mail.example.co.uk", "x-y.io"])
    ).map("@".join),
    "phone": st.tuples(
        st.sampled_from(["+49", "+1", "+44"]), st.sampled_from(["", " ", "-"]), st.text(string.digits, min_size=9, max_size=10)
    ).map("".join),
    "ip": st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str).filter(lambda text: text.count(":") > 4)),
    "private_key": st.text(ALNUM + "+/\n", min_size=10, max_size=80).map(
        lambda text: f"-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----"
    ),
}
ANY_SECRET = st.sampled_from(SECRET_KINDS).flatmap(lambda kind: st.tuples(st.just(kind), SECRETS[kind]))
AROUND = st.sampled_from(["", " ", "\n", "\t", '"', "(", "é ", "日本", "<", "\\ ", "see: ", "/ ", "\x07"])
BEHIND = st.sampled_from(["", " ", "\n", '"', ")", " é", ",", ">", "; "])


def test_each_kind_that_can_be_asked_for_can_be_found() -> None:
    assert tuple(redaction._FINDERS) == SECRET_KINDS


def nest(value: str, how: list[int]) -> Any:
    document: Any = value
    for step in how:
        if step == 0:
            document = json.dumps({"text": document})
        elif step == 1:
            document = json.dumps([{"parts": [document, 7]}], ensure_ascii=False)
        elif step == 2:
            document = {"é": document, "n": 1.5}
        else:
            document = [document, "and more"]
    return document if isinstance(document, str) else json.dumps(document)


def unnest(document: Any) -> list[str]:
    """All strings in it, of JSON in JSON too; a document that no longer is one fails."""
    if isinstance(document, dict):
        return [text for item in document.values() for text in unnest(item)]
    if isinstance(document, list):
        return [text for item in document for text in unnest(item)]
    if isinstance(document, str):
        return unnest(json.loads(document)) if document.startswith(("{", "[{", '["')) and document[-1:] in "}]" else [document]
    return []


@settings(max_examples=400, deadline=None)
@given(secret=ANY_SECRET, before=AROUND, after=BEHIND, how=st.lists(st.integers(0, 3), max_size=4))
@example(secret=("email", "a@example.com"), before="\n", after="", how=[0, 0, 0])
@example(secret=("card", "4111111111111111"), before="é", after="", how=[0])
def test_every_secret_is_gone_in_any_nesting_and_json_stays_json(
    secret: tuple[str, str], before: str, after: str, how: list[int]
) -> None:
    _, text = secret
    document = nest(before + text + after, how)
    redacted = redact(document, SECRET_KINDS)
    assert text.replace("\n", "") not in redacted.replace("\\n", "").replace("\\", "").replace("\n", "")
    if how:
        texts = unnest(redacted)
        assert any("[redacted:" in found for found in texts)
    assert redact(redacted, SECRET_KINDS) == redacted


INNOCENT = r"""
the order of 2024-05-01T12:30:45.123Z costs 1,234.56 USD (12 %), see page 7 of 19; gpt-4o-2024-08-06 chatcmpl-9x call_17 v1.2.3
sk_learn_pipeline_v2_final risk-adjusted-returns std::string a::b @app.route #42 C:\new\users 1700000000000000000 naïve 日本語
token_count=812 output_tokens: 64 https://example.com/a?b=1&c=2 x@y 0.4111111111111111 3f2b8c1e-9d4a-4b6f
"""
WORDS = st.sampled_from(INNOCENT.split())


@given(
    st.lists(
        st.one_of(WORDS, st.integers(-(10**6), 10**6).map("n={}".format), st.text("abcxyz ,.!?\n\"'", max_size=20)), max_size=60
    ).map(" ".join)
)
def test_text_without_secrets_is_the_very_same(text: str) -> None:
    assert redact(text, SECRET_KINDS) is text
    document = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    assert redact(document, SECRET_KINDS) is document


def test_only_the_kinds_asked_for() -> None:
    text = "a@example.com 4111 1111 1111 1111"
    assert redact(text, ("card",)) == "a@example.com [redacted:card]"
    assert redact(text, ()) is text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [redacted:api_key]"),
        ('{"password": "Hunter!", "n": 1}', '{"password": "[redacted:api_key]", "n": 1}'),
        ('"{\\"api_key\\": \\"abc123\\"}"', '"{\\"api_key\\": \\"[redacted:api_key]\\"}"'),
        ("postgres://app:s3cr3t@db/x", "postgres://app:[redacted:api_key]@db/x"),
        ("(555) 123-4567, 555.123.4567", "[redacted:phone], [redacted:phone]"),
        ("card 3 4111111111111111 12/29", "card 3 [redacted:card] 12/29"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130 01"),
        ("from ::1 and fe80::1", "from [redacted:ip] and [redacted:ip]"),
        ("999.1.1.1", "999.1.1.1"),
        ("the password: optional", "the password: optional"),
        ("İ password=hunter22", "İ password=[redacted:api_key]"),
    ],
)
def test_examples(text: str, redacted: str) -> None:
    assert redact(text, SECRET_KINDS) == redacted


UNITS = [
    "a",
    "1",
    "1 ",
    "@",
    "a@",
    "a.",
    "a@a.",
    ":",
    "::",
    "a:",
    "1.",
    "1-",
    "+1",
    "(2",
    "eyJ",
    "sk-",
    "-",
    "_",
    "-----BEGIN PRIVATE KEY-----",
    "-----",
    "DE11",
    "DE11 ",
    "4111",
    "4111 ",
    "password=",
    "password:",
    "bearer ",
    "://",
    "://a:",
    "\\",
    '\\"',
    " ",
    "é",
    "\\u00e9",
    "AKIA",
    "x.y",
    "222-",
]


@pytest.fixture
def count_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """How many steps redaction takes, by a copy of the module whose patterns count."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    compile_really = re.compile
    spec = importlib.util.spec_from_file_location("counted_patterns", redaction.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(re, "compile", lambda pattern, flags=0: Counted(compile_really(pattern, flags), count))
        spec.loader.exec_module(module)

    def steps_of(text: str) -> int:
        nonlocal steps
        steps = 0
        module.redact(text, SECRET_KINDS)
        return steps

    return steps_of


def test_the_work_grows_no_faster_than_the_text(count_steps: Callable[[str], int]) -> None:
    chance = random.Random(7)
    for unit in UNITS + ["".join(chance.choices(UNITS, k=3)) for _ in range(25)]:
        text = unit * (1 + 400 // len(unit))
        # Patterns look at most some hundred characters ahead: beyond that, twice the text is at most twice the work.
        once, twice = count_steps(text), count_steps(text * 2)
        assert twice <= 2.3 * once + 2_000, unit

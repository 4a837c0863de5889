"""The price book as a pure value: names, dates, hours, modes, the user's own prices, and what must never be priced."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spanledger_collector.errors import InvalidQuestion
from spanledger_collector.pricing import corrections, table
from spanledger_collector.pricing.arithmetic import Priced, TokenCounts, disjoint
from spanledger_collector.pricing.book import SHIPPED, Book
from spanledger_collector.pricing.rates import PER
from spanledger_collector.pricing.user import parse_price

AT = "2026-11-12T12:00:00Z"
COUNTS = TokenCounts(1_000_000, output=1_000_000)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


def usd(priced: Priced) -> Decimal | None:
    return None if priced.total is None else Decimal(priced.total) / 10**12


def million(provider: str, model: str, at: str = AT, mode: str = "", book: Book = SHIPPED) -> Decimal | str | None:
    """What a million tokens in and a million out cost, or the reason why that is unknown."""
    priced = book.price(provider, model, ns(at), COUNTS, mode)
    return priced.reason or usd(priced)


class TestNames:
    @pytest.mark.parametrize(
        ("provider", "model", "plain"),
        [
            ("openai", "GPT-4o", ("openai", "gpt-4o")),
            ("litellm", "openai/gpt-4o", ("openai", "gpt-4o")),
            ("", "litellm_proxy/azure/gpt-4.1", ("azure", "gpt-4.1")),
            ("openai", "anthropic/claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5")),
            ("openai", "gpt-5.2-20251211", ("openai", "gpt-5.2")),
            ("gcp.gemini", "models/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
            ("gcp.gen_ai", "gemini-2.0-flash-001", ("google", "gemini-2.0-flash")),
            ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", ("google", "claude-sonnet-4-5")),
            ("gcp.vertex_ai", "projects/p/locations/eu/publishers/google/models/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
            ("azure.ai.openai", "gpt-35-turbo", ("openai", "gpt-3.5-turbo")),
            ("x_ai", "grok-4-0709", ("xai", "grok-4-0709")),
            ("anthropic", "claude-3-5-sonnet-latest", ("anthropic", "claude-3-5-sonnet-20241022")),
            (
                "aws.bedrock",
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
                ("bedrock", "amazon.nova-pro-v1:0"),
            ),
            (
                "aws.bedrock",
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-6-v1",
                ("bedrock", "us.anthropic.claude-opus-4-6-v1"),
            ),
            (
                "litellm",
                "bedrock/us-west-2/anthropic.claude-3-haiku-20240307-v1:0",
                ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0"),
            ),
            ("anthropic", "us.anthropic.claude-opus-4-6-v1", ("bedrock", "us.anthropic.claude-opus-4-6-v1")),
            ("vertex_ai", "anthropic/claude-sonnet-4-5", ("google", "claude-sonnet-4-5")),
            ("azure.ai.inference", "openai/gpt-4o", ("azure", "gpt-4o")),
            ("litellm", "azure/global-standard/gpt-4o", ("azure", "gpt-4o")),
            ("fireworks", "deepseek-v3p2", ("fireworks_ai", "accounts/fireworks/models/deepseek-v3p2")),
            ("azure", "gpt-4o-mini-2024-07-18.ft-0123456789abcdef", ("openai", "ft:gpt-4o-mini-2024-07-18:acme::id")),
        ],
    )
    def test_one_model_costs_the_same_under_all_of_its_names(self, provider: str, model: str, plain: tuple[str, str]) -> None:
        cost = million(provider, model)
        assert isinstance(cost, Decimal)
        assert cost == million(*plain)

    def test_a_fine_tuned_model_is_not_its_base(self) -> None:
        assert million("openai", "ft:gpt-4o-mini-2024-07-18:acme::x") == 2 * Decimal(str(million("openai", "gpt-4o-mini")))
        assert million("openai", "ft:gpt-4.1-2025-04-14:acme::x") == 15
        assert million("openai", "ft:gpt-4o-made-up:acme::x") == "unknown_model"

    @pytest.mark.parametrize(
        ("provider", "model", "reason"),
        [
            ("openai", "gpt-4o-internal", "unknown_model"),
            ("anthropic", "claude-sonnet-4-5-foo-internal", "unknown_model"),
            ("anthropic", "claude-3.5-sonnet-foo", "unknown_model"),
            ("anthropic", "claude-3-5-haiku-2", "unknown_model"),
            ("google", "gemini-3.7-flash-8b", "unknown_model"),
            ("azure", "my-prod-deployment", "unknown_model"),
            ("ollama", "deepseek-r1", "unknown_model"),
            ("groq", "gpt-4o", "unknown_model"),
            ("my-own-cloud", "deepseek-chat", "unknown_model"),
            ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "opaque_name"),
            ("openai", "", "no_model"),
            ("openai", "gpt", "unknown_model"),
            ("openrouter", "made-up:free", "unknown_model"),
            ("openai", "made/up:free", "unknown_model"),
            ("", "x" * 10_000, "unknown_model"),
        ],
    )
    def test_what_is_not_known_has_no_price_and_a_reason(self, provider: str, model: str, reason: str) -> None:
        assert million(provider, model) == reason

    @given(
        st.sampled_from([(found.provider, found.info.id.lower()) for found in table.models()]),
        st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=12),
        st.sampled_from(
            [
                "{model}-{word}",
                "{word}-{model}",
                "{model}{word}",
                "{word}{model}",
                "{model}:{word}",
                "us.{word}.{model}",
                "{model}@{word}",
            ]
        ),
    )
    @settings(max_examples=500)
    def test_an_invented_neighbour_of_a_real_model_is_never_priced(self, model: tuple[str, str], word: str, form: str) -> None:
        invented = form.format(model=model[1], word=f"zq{word}")
        # What OpenRouter gives away says so in its name, and a fine-tuned model's name ends in whatever its owner called it.
        assume(not invented.endswith(":free") and not invented.startswith("ft:"))
        priced = SHIPPED.price(model[0], invented, ns(AT), COUNTS)
        assert (priced.status, priced.total) == ("unpriced", None)

    @given(st.text(max_size=80), st.text(max_size=80))
    def test_no_name_breaks_it(self, provider: str, model: str) -> None:
        priced = SHIPPED.price(provider, model, ns(AT), TokenCounts(1))
        assert priced.total is not None or priced.reason


class TestWhen:
    @pytest.mark.parametrize(
        ("model", "at", "cost"),
        [
            ("o3", "2025-06-09T23:59:59Z", 50),
            ("o3", "2025-06-10T00:00:00Z", 10),
            ("o1-mini", "2025-01-16T12:00:00Z", 15),
            ("o1-mini", "2025-05-16T12:00:00Z", Decimal("5.5")),
        ],
    )
    def test_a_call_pays_the_price_of_its_day(self, model: str, at: str, cost: Decimal) -> None:
        assert million("openai", model, at) == cost

    @pytest.mark.parametrize(
        ("at", "cost"),
        [
            ("2026-07-10T02:00:00Z", Decimal("0.42")),  # before there were hours
            ("2026-08-22T02:30:00Z", Decimal("1.76")),  # a Saturday, before weekends were cheap
            ("2026-08-29T02:30:00Z", Decimal("0.88")),  # a Saturday after
            ("2026-11-11T05:59:59Z", Decimal("0.75")),
            ("2026-11-11T06:00:00Z", Decimal("1.5")),
            ("2026-11-11T09:59:59Z", Decimal("1.5")),
            ("2026-11-11T10:00:00Z", Decimal("0.75")),
            ("2026-11-14T02:30:00Z", Decimal("0.75")),
        ],
    )
    def test_hours_and_weekdays(self, at: str, cost: Decimal) -> None:
        assert million("deepseek", "deepseek-v4-flash", at) == cost

    def test_long_context_had_a_price_while_its_beta_lasted(self) -> None:
        model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
        assert million("bedrock", model, "2026-02-15T00:00:00Z") == Decimal("31.35")
        assert million("bedrock", model, "2026-08-10T00:00:00Z") == Decimal("19.8")
        assert million("google", "gemini-1.5-flash-8b", "2025-08-10T00:00:00Z") == Decimal("0.375")

    def test_the_alias_moved(self) -> None:
        assert million("mistral", "mistral-large-latest", "2025-11-01T00:00:00Z") == 8
        assert million("mistral", "mistral-large-latest", "2026-08-10T00:00:00Z") == 2
        assert million("mistral", "mistral-large-2411", "2026-08-10T00:00:00Z") == 8


class TestModes:
    @pytest.mark.parametrize(
        ("provider", "model", "mode", "at", "cost"),
        [
            ("openai", "gpt-4o", "batch", "2026-08-10T00:00:00Z", Decimal("6.25")),
            ("azure", "gpt-4o", "batch", "2026-08-10T00:00:00Z", Decimal("6.25")),
            ("azure", "o3", "batch", AT, 5),
            ("openai", "gpt-5.6-luna", "batch", "2026-07-29T00:00:00Z", Decimal("5.5")),  # half of what it cost then
            ("anthropic", "claude-opus-4-1", "batch", "2025-12-01T00:00:00Z", 45),
            ("bedrock", "us.anthropic.claude-opus-4-6-v1", "batch", AT, Decimal("16.5")),
            ("google", "gemini-3.7-flash", "batch", "2026-11-12T00:00:00Z", Decimal("2.25")),
            ("google", "gemini-2.5-flash", "flex", AT, Decimal("1.4")),
            ("google", "gemini-2.5-flash", "priority", AT, Decimal("5.04")),
            ("openai", "gpt-5", "priority", "2026-08-10T00:00:00Z", Decimal("22.5")),
            ("openai", "gpt-4-turbo", "flex", AT, "no_flex_price"),
            ("anthropic", "claude-opus-4-8", "priority", AT, "no_priority_price"),
            ("openai", "gpt-5", "scale", AT, "unknown_service_tier"),
        ],
    )
    def test_what_it_costs_depends_on_how_it_was_processed(
        self, provider: str, model: str, mode: str, at: str, cost: Decimal | str
    ) -> None:
        assert million(provider, model, at, mode) == cost


class TestCounts:
    def test_kinds_without_a_price_are_not_guessed(self) -> None:
        image = TokenCounts(100, output=10, other={"output_image": 5})
        assert SHIPPED.price("openai", "gpt-4o", ns(AT), image).reason == "no_price_for_output_image"
        assert (
            SHIPPED.price("openai", "gpt-4o", ns(AT), TokenCounts(100, other={"input_audio": 5})).reason
            == "no_price_for_input_audio"
        )
        assert usd(SHIPPED.price("openai", "gpt-4o", ns(AT), TokenCounts(0, other={"input_image": 1_000_000}))) == Decimal("2.5")

    def test_an_hour_of_cache_costs_twice_the_input_for_claude_anywhere(self) -> None:
        for provider, model in (("anthropic", "claude-opus-4-8"), ("gcp.vertex_ai", "claude-opus-4-8")):
            assert usd(SHIPPED.price(provider, model, ns(AT), TokenCounts(0, cache_write_1h=1_000_000))) == 10

    @given(*[st.integers(0, 2_000_000)] * 6)
    def test_parts_add_up_and_more_never_costs_less(
        self, fresh: int, read: int, write: int, hour: int, out: int, thought: int
    ) -> None:
        counts = TokenCounts(fresh, read, write, hour, out, thought, {"web_searches": thought % 7})
        priced = SHIPPED.price("anthropic", "claude-sonnet-4-5", ns(AT), counts)
        parts = (priced.input, priced.cache_read, priced.cache_write, priced.output, priced.other)
        assert priced.total == sum(part or 0 for part in parts)
        more = SHIPPED.price("anthropic", "claude-sonnet-4-5", ns(AT), counts._replace(output=out + 1))
        assert (more.total or 0) > (priced.total or 0)

    @given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
    def test_inclusive_unless_it_cannot_be(self, whole: int, read: int, write: int, audio: int) -> None:
        rest = disjoint(whole, read, write, 0, {"input_audio": audio})
        if read + write + audio <= whole:
            assert rest == whole - read - write - audio
        elif read + write > whole:
            assert rest == (whole - audio if audio <= whole else None)
        assert rest is None or 0 <= rest <= whole

    def test_images_that_are_produced(self) -> None:
        assert usd(SHIPPED.price("openai", "gpt-image-1", ns(AT), TokenCounts(0, other={"output_image": 1_000_000}))) == 40

    def test_the_name_of_what_is_free_says_so(self) -> None:
        for model in ("meta-llama/llama-3.3-70b-instruct:free", "some/new-one:free"):
            priced = SHIPPED.price("openrouter", model, ns(AT), COUNTS)
            assert (priced.status, priced.total) == ("free", 0)

    def test_an_absurd_count_is_not_a_cost(self) -> None:
        assert SHIPPED.price("openai", "gpt-4o", ns(AT), TokenCounts(10**15)).reason == "implausible_usage"


class TestOwnPrices:
    def book(self, *raw: dict[str, Any]) -> Book:
        return Book([parse_price(entry, 1_790_000_000_000_000_000 + number) for number, entry in enumerate(raw)])

    def test_a_discount_on_the_list_moves_with_the_list_and_with_the_mode(self) -> None:
        book = self.book({"provider": "openai", "model": "o3*", "multiplier": "0.82"})
        assert million("openai", "o3", "2025-06-01T00:00:00Z", "", book) == Decimal("41")
        assert million("openai", "o3", AT, "", book) == Decimal("8.2")
        assert million("openai", "o3", AT, "batch", book) == Decimal("4.1")
        assert million("openai", "gpt-4o", AT, "", book) == Decimal("12.5")

    def test_a_deployment_is_priced_as_what_it_is(self) -> None:
        book = self.book({"provider": "azure*", "model": "my-prod-*", "price_as": {"provider": "openai", "model": "gpt-4o"}})
        assert million("azure.ai.openai", "my-prod-01", AT, "", book) == Decimal("12.5")
        assert million("azure", "my-prod-01", AT, "batch", book) == Decimal("6.25")
        assert million("azure", "other-01", AT, "", book) == "unknown_model"

    def test_the_closest_pattern_and_the_latest_start_win(self) -> None:
        book = self.book(
            {"model": "*", "prices": {"input": "9", "output": "9"}},
            {"model": "gpt-4o*", "prices": {"input": "1", "output": "1"}},
            {"model": "gpt-4o*", "prices": {"input": "2", "output": "2"}, "valid_from": "2026-06-01"},
            {
                "model": "gpt-4o*",
                "prices": {"input": "3", "output": "3"},
                "valid_from": "2026-07-01",
                "valid_until": "2026-08-01",
            },
        )
        days = ("2026-05-31", "2026-06-01", "2026-07-15", "2026-08-01")
        assert [million("openai", "gpt-4o-mini", f"{day}T00:00:00Z", "", book) for day in days] == [2, 4, 6, 4]
        assert million("openai", "anything", AT, "", book) == 18

    def test_between_its_dates_only(self) -> None:
        book = self.book(
            {"model": "gpt-4o", "prices": {"input": "0", "output": "0"}, "valid_from": "2026-06-01", "valid_until": "2026-07-01"}
        )
        assert [million("openai", "gpt-4o", f"2026-{day}T00:00:00Z", "", book) for day in ("05-31", "06-15", "07-01")] == [
            Decimal("12.5"),
            0,
            Decimal("12.5"),
        ]
        free = book.price("openai", "gpt-4o", ns("2026-06-15T00:00:00Z"), COUNTS)
        assert (free.status, free.source) == ("free", "user")

    def test_it_begins_with_its_second(self) -> None:
        book = self.book({"model": "gpt-4o", "multiplier": "0", "valid_from": "2026-06-01T12:00:00.5+02:00"})
        times = ("2026-06-01T09:59:59Z", "2026-06-01T10:00:00Z")
        assert [million("openai", "gpt-4o", at, "", book) for at in times] == [Decimal("12.5"), 0]

    def test_steps_fees_and_calls(self) -> None:
        step = {"price": "1", "above": [{"above_input_tokens": 1000, "price": "2"}]}
        book = self.book({"model": "mine", "prices": {"input": step, "output": "0", "web_searches": "10"}, "per_call": "0.5"})
        small = book.price("x", "mine", ns(AT), TokenCounts(1000, other={"web_searches": 2}))
        large = book.price("x", "mine", ns(AT), TokenCounts(1001))
        assert usd(small) == Decimal("0.001") + Decimal("0.02") + Decimal("0.5")
        assert usd(large) == Decimal("0.002002") + Decimal("0.5")

    def test_a_machine_by_the_hour_is_an_estimate(self) -> None:
        book = self.book({"provider": "vllm", "model": "llama*", "gpu_hour_usd": "3.60", "gpus": "2"})
        priced = book.price("vllm", "llama-3.3-70b", ns(AT), TokenCounts(10, output=5), duration_ns=1_500_000_000)
        assert (usd(priced), priced.status) == (Decimal("0.003"), "estimated")

    def test_tools_and_retrievals_cost_by_the_call(self) -> None:
        book = self.book(
            {"kind": "tool", "model": "web_*", "per_call": "0.01"}, {"kind": "retrieval", "model": "kb", "per_call": "0"}
        )
        tool = book.price_step("tool", "web_search", ns(AT))
        assert tool is not None
        assert usd(tool) == Decimal("0.01")
        free = book.price_step("retrieval", "kb", ns(AT))
        assert free is not None
        assert free.status == "free"
        assert book.price_step("tool", "other", ns(AT)) is None
        assert million("openai", "web_search", AT, "", book) == "unknown_model"
        absurd = self.book({"kind": "tool", "model": "x", "per_call": "1000000000"}).price_step("tool", "x", ns(AT))
        assert absurd is not None
        assert absurd.reason == "implausible_usage"

    @pytest.mark.parametrize(
        ("raw", "says"),
        [
            ([], "object"),
            ({"model": "x"}, "needs one of"),
            ({"model": "x", "multiplier": 0.82}, "as text"),
            ({"model": "x", "multiplier": "-1"}, "between 0"),
            ({"model": "x", "multiplier": "NaN"}, "between 0"),
            ({"model": "x", "prices": {"inptu": "1"}}, "no kind of usage"),
            ({"model": "x", "multiplier": "1", "per_call": "1"}, "not both"),
            ({"model": "x", "multiplier": "1", "valid_from": "2026-02-01", "valid_until": "2026-01-01"}, "before"),
            ({"model": "x", "multiplier": "1", "valid_from": "soon"}, "time such as"),
            ({"model": "x", "multiplier": "1", "currency": "EUR"}, "USD"),
            ({"model": "", "multiplier": "1"}, "missing"),
            ({"model": "x", "discount": "1"}, "no field"),
            ({"kind": "tool", "model": "x", "prices": {"input": "1"}}, "per_call"),
        ],
    )
    def test_a_wrong_price_is_refused_in_words(self, raw: Any, says: str) -> None:
        with pytest.raises(InvalidQuestion, match=says):
            parse_price(raw)

    @given(st.decimals(0, 1000, places=6), st.sampled_from(list(PER)))
    def test_what_is_set_is_what_is_shown(self, amount: Decimal, kind: str) -> None:
        price = parse_price({"model": "m*", "prices": {kind: str(amount)}, "note": "n", "valid_from": "2026-01-01"}, 5)
        assert parse_price(price.to_dict(), 5) == price


def test_the_shipped_corrections_are_whole() -> None:
    found = corrections.shipped()
    known: Callable[[str], bool] = set(table.providers()).__contains__
    for patches in found.patches.values():
        for patch in patches:
            assert known(patch.provider)
            assert patch.source
            assert patch.reason
            assert datetime.fromisoformat(patch.checked_on)
    for rule in found.modes:
        assert known(rule.provider)
        assert rule.source


def test_a_reported_cost_is_believed_where_it_is_the_applications_own() -> None:
    counts = TokenCounts(100, output=10)
    own = SHIPPED.price("openai", "gpt-4o", ns(AT), counts, reported=123, dialect="genai")
    assert (own.status, own.total) == ("reported", 123)
    foreign = SHIPPED.price("openai", "gpt-4o", ns(AT), counts, reported=123, dialect="openlit")
    assert (foreign.status, foreign.total) == ("priced", 350_000_000)
    billed = SHIPPED.price("openrouter", "openai/gpt-4o", ns(AT), counts, reported=123, dialect="traceloop")
    assert (billed.status, billed.total) == ("reported", 123)
    computed = SHIPPED.price("openrouter", "openai/gpt-4o", ns(AT), counts, reported=123, dialect="openlit")
    assert computed.status == "priced"

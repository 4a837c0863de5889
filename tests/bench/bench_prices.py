"""Pricing: what one generation costs in time, amortised over distinct inputs, compiling included."""

import random
import time
from typing import Any

from figures import Figure

from spanledger_collector.pricing import table
from spanledger_collector.pricing.arithmetic import TokenCounts
from spanledger_collector.pricing.book import Book, compiled
from spanledger_collector.pricing.user import parse_price

_TARGET_US = 2.0
_START_NS = 1_760_000_000_000_000_000
_YEAR_NS = 365 * 86_400_000_000_000
_OWN = [
    {"provider": "openai", "model": "gpt-4o*", "multiplier": "0.82"},
    {"provider": "azure*", "model": "prod-*", "price_as": {"provider": "openai", "model": "gpt-4o"}},
    {"model": "house-*", "prices": {"input": "1", "output": "2"}},
]


def run(quick: bool) -> list[Figure]:
    """Price many different calls with a book that has seen none of them."""
    inputs = _inputs(50_000 if quick else 400_000)
    # The least disturbed of three rounds, each with a book that has seen nothing.
    rounds = [_round(inputs) for _ in range(3)]
    first_us, again_us = min(first for first, _ in rounds), min(again for _, again in rounds)
    models = len({entry[:2] for entry in inputs})
    note = f"{len(inputs):,} distinct calls to {models} models over a year, compiling included; {again_us:.2f} µs once compiled"
    return [Figure("pricing one generation", f"<= {_TARGET_US:.0f} µs", f"{first_us:.2f} µs", first_us <= _TARGET_US, note)]


def _round(inputs: list[tuple[str, str, int, TokenCounts, str]]) -> tuple[float, float]:
    """Microseconds per call, compiling included, and once all is compiled."""
    book = Book([parse_price(price, 1) for price in _OWN])
    compiled.cache_clear()
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        for provider, model, start, counts, mode in inputs:
            book.price(provider, model, start, counts, mode)
        taken.append((time.perf_counter() - started) / len(inputs) * 1e6)
    return taken[0], taken[1]


def _inputs(count: int) -> list[tuple[str, str, int, TokenCounts, str]]:
    """Calls that all differ: by time, by counts, and over the models of the large providers."""
    dice = random.Random(7)
    wanted = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "aws", "groq")
    known: list[tuple[str, str]] = [(found.provider, found.info.id) for found in table.models() if found.provider in wanted]
    names = [*dice.sample(known, 240), ("azure", "prod-01"), ("vllm", "house-7b"), ("openai", "unheard-of")]
    found: list[Any] = []
    for number in range(count):
        provider, model = names[number % len(names)]
        given, read = dice.randrange(1, 200_000), dice.choice((0, 0, dice.randrange(100_000)))
        written, thought = dice.choice((0, 0, 0, 2_000)), dice.choice((0, 0, 500))
        counts = TokenCounts(given, read, written, 0, dice.randrange(1, 4_000), thought)
        found.append((provider, model, _START_NS + dice.randrange(_YEAR_NS), counts, dice.choice(("", "", "", "", "batch"))))
    return found

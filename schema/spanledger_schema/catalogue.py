"""Measures: each number is defined here once, with its label, unit, meaning and SQL.

A measure states how it is computed from `calls` (one row per call), from `interactions` (one row per interaction), or
both, or from `losses` (what SDKs say that they lost); `query/compile.py` chooses. Over `interactions` broken down by a
dimension of calls, the money and token columns hold only the group's part. The SQL names columns of those tables and nothing
else; values are never in it.
"""

from dataclasses import dataclass
from typing import Final

from spanledger_schema.units import Unit


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with a unit.

    `additive` measures of disjoint groups sum to the ungrouped total. `empty_is_zero`: no rows means 0, else unknown.
    `rising_is` says what a rise means for the people who read it: good, bad or neutral.
    """

    name: str
    label: str
    unit: Unit
    description: str
    calls: str | None = None
    interactions: str | None = None
    losses: str | None = None
    every_span: bool = False
    additive: bool = False
    empty_is_zero: bool = False
    rising_is: str = "neutral"


_IN_CALLS: Final = (
    "uncached_input_tokens + ifNull(cache_read_tokens, 0) + ifNull(cache_write_5m_tokens, 0) + "
    "ifNull(cache_write_1h_tokens, 0) + arraySum(mapValues(mapFilter((k, v) -> startsWith(k, 'input_'), other_tokens)))"
)
_OUT_CALLS: Final = (
    "visible_output_tokens + ifNull(reasoning_tokens, 0) + "
    "arraySum(mapValues(mapFilter((k, v) -> startsWith(k, 'output_'), other_tokens)))"
)
_GENERATION: Final = "kind IN ('model', 'embedding', 'rerank')"
_USER_FEEDBACK: Final = "arrayCount(s -> s IN feedback_scope, feedback_sources)"
_USER_POSITIVE: Final = "arrayCount((s, p) -> s IN feedback_scope AND p = 1, feedback_sources, feedback_positive)"
_USER_JUDGED: Final = "arrayCount((s, p) -> s IN feedback_scope AND p >= 0, feedback_sources, feedback_positive)"
_ONE_SOURCE: Final = "length(groupUniqArrayArray(confidence_sources)) = 1"


def _sum(column: str) -> str:
    return f"sum({column})"


def _ratio(numerator: str, denominator: str) -> str:
    return f"if({denominator} = 0, NULL, {numerator} / {denominator})"


def _confidence(aggregate: str) -> str:
    return f"if({_ONE_SOURCE}, {aggregate}, NULL)"


def _cost_quantile(q: float) -> str:
    return f"quantileExactOrNull({q})(cost_usd)"


_ALL: Final = (
    # Volume
    Measure(
        "interactions",
        "Interactions",
        Unit.COUNT,
        "Things users asked of the AI.",
        interactions="count()",
        additive=True,
        empty_is_zero=True,
    ),
    Measure(
        "spans",
        "Spans",
        Unit.COUNT,
        "Stored spans, of traces without any AI span too; each span once.",
        interactions="sum(span_count)",
        every_span=True,
        additive=True,
        empty_is_zero=True,
    ),
    Measure(
        "generations",
        "Generations",
        Unit.COUNT,
        "Calls to models, embedding and rerank models, failed and unpriced ones too; a call seen twice counts once.",
        calls=f"countIf({_GENERATION})",
        interactions="sum(generations)",
        additive=True,
        empty_is_zero=True,
    ),
    # Money
    Measure(
        "cost_usd",
        "Cost",
        Unit.USD,
        "What the calls cost at the prices valid when they started; unknown is left out.",
        calls=_sum("cost_usd"),
        interactions=_sum("cost_usd"),
        additive=True,
        rising_is="bad",
    ),
    Measure(
        "cost_per_interaction_usd",
        "Cost per interaction",
        Unit.USD,
        "Cost divided by the interactions whose cost is known.",
        interactions=_ratio("toFloat64(sum(cost_usd))", "count(cost_usd)"),
        rising_is="bad",
    ),
    Measure(
        "cost_p50_usd",
        "Cost per interaction, median",
        Unit.USD,
        "Median cost of one interaction.",
        interactions=_cost_quantile(0.5),
        rising_is="bad",
    ),
    Measure(
        "cost_p95_usd",
        "Cost per interaction, p95",
        Unit.USD,
        "95 of 100 interactions cost at most this.",
        interactions=_cost_quantile(0.95),
        rising_is="bad",
    ),
    Measure(
        "cost_p99_usd",
        "Cost per interaction, p99",
        Unit.USD,
        "99 of 100 interactions cost at most this.",
        interactions=_cost_quantile(0.99),
        rising_is="bad",
    ),
    Measure(
        "wasted_cost_usd",
        "Wasted cost",
        Unit.USD,
        "Cost of interactions that failed, and of failed calls in those that did not.",
        calls=_sum("wasted_cost_usd"),
        interactions=_sum("wasted_cost_usd"),
        additive=True,
        rising_is="bad",
    ),
    Measure(
        "cache_savings_usd",
        "Saved by caching",
        Unit.USD,
        "What cached input would have cost at the full input price, less what it did cost (writes included).",
        calls=_sum("cache_savings_usd"),
        interactions=_sum("cache_savings_usd"),
        additive=True,
        rising_is="good",
    ),
    Measure(
        "cost_per_positive_interaction_usd",
        "Cost per positively rated interaction",
        Unit.USD,
        "All cost divided by the interactions that a user rated positively.",
        interactions=_ratio("toFloat64(sum(cost_usd))", f"countIf({_USER_POSITIVE} > 0)"),
        rising_is="bad",
    ),
    Measure(
        "priced_share",
        "Priced share",
        Unit.RATIO,
        "Share of generations whose cost is known: priced, reported, free or refused by the provider; not estimated.",
        calls=_ratio(
            f"countIf({_GENERATION} AND cost_status IN ('priced', 'reported', 'free', 'not_billable'))", f"countIf({_GENERATION})"
        ),
        interactions=_ratio("sum(known_cost_generations)", "sum(generations)"),
        rising_is="good",
    ),
    Measure(
        "unpriced_generations",
        "Unpriced generations",
        Unit.COUNT,
        "Generations whose cost is unknown.",
        calls=f"countIf({_GENERATION} AND cost_status = 'unpriced')",
        interactions="sum(unpriced_generations)",
        additive=True,
        empty_is_zero=True,
        rising_is="bad",
    ),
    Measure(
        "estimated_cost_usd",
        "Estimated cost",
        Unit.USD,
        "The part of cost that rests on estimated or incomplete token counts.",
        calls="sumIf(cost_usd, cost_status = 'estimated')",
        additive=True,
    ),
    Measure(
        "estimated_share",
        "Estimated share",
        Unit.RATIO,
        "Share of generations whose cost is estimated.",
        calls=_ratio(f"countIf({_GENERATION} AND cost_status = 'estimated')", f"countIf({_GENERATION})"),
        rising_is="bad",
    ),
    Measure(
        "unpriced_share",
        "Unpriced share",
        Unit.RATIO,
        "Share of generations whose cost is unknown.",
        calls=_ratio(f"countIf({_GENERATION} AND cost_status = 'unpriced')", f"countIf({_GENERATION})"),
        interactions=_ratio("sum(unpriced_generations)", "sum(generations)"),
        rising_is="bad",
    ),
    *(
        Measure(
            f"cost_{kind}_usd",
            f"Cost, {label}",
            Unit.USD,
            f"The part of cost that is {meaning}. With the other parts and the unsplit cost it makes up all cost.",
            calls=_sum(f"cost_{kind}_usd"),
            additive=True,
        )
        for kind, label, meaning in (
            ("input", "input", "input outside caches, audio and images included"),
            ("cache_read", "cache reads", "input read from caches"),
            ("cache_write", "cache writes", "input written to caches"),
            ("output", "output", "output, reasoning included"),
            ("other", "fees", "searches, requests, tools and machine time"),
        )
    ),
    Measure(
        "cost_unsplit_usd",
        "Cost, unsplit",
        Unit.USD,
        "The part of cost that came as one sum, such as a provider's own statement.",
        calls="sumIf(cost_usd, isNull(cost_input_usd) AND isNull(cost_output_usd) AND isNull(cost_other_usd))",
        additive=True,
    ),
    # Tokens
    Measure(
        "input_tokens",
        "Input tokens",
        Unit.TOKENS,
        "Tokens sent to models, cached ones included.",
        calls=f"sum({_IN_CALLS})",
        interactions=_sum("input_tokens"),
        additive=True,
    ),
    Measure(
        "output_tokens",
        "Output tokens",
        Unit.TOKENS,
        "Tokens that models produced, reasoning included.",
        calls=f"sum({_OUT_CALLS})",
        interactions=_sum("output_tokens"),
        additive=True,
    ),
    Measure(
        "cache_read_tokens",
        "Cache read tokens",
        Unit.TOKENS,
        "Input tokens served from a provider's cache.",
        calls=_sum("cache_read_tokens"),
        interactions=_sum("cache_read_tokens"),
        additive=True,
    ),
    Measure(
        "cache_write_tokens",
        "Cache write tokens",
        Unit.TOKENS,
        "Input tokens written to a provider's cache, all lifetimes.",
        calls="sum(if(isNull(cache_write_5m_tokens) AND isNull(cache_write_1h_tokens), NULL, "
        "ifNull(cache_write_5m_tokens, 0) + ifNull(cache_write_1h_tokens, 0)))",
        interactions=_sum("cache_write_tokens"),
        additive=True,
    ),
    Measure(
        "reasoning_tokens",
        "Reasoning tokens",
        Unit.TOKENS,
        "Output tokens spent on reasoning.",
        calls=_sum("reasoning_tokens"),
        interactions=_sum("reasoning_tokens"),
        additive=True,
    ),
    Measure(
        "cache_hit_rate",
        "Cache hit rate",
        Unit.RATIO,
        "Cache read tokens over input tokens, where a source states both.",
        calls=_ratio("sum(cache_read_tokens)", f"sumIf({_IN_CALLS}, isNotNull(cache_read_tokens))"),
        rising_is="good",
    ),
    # Failures
    Measure(
        "failures",
        "Failures",
        Unit.COUNT,
        "Interactions that ended in a failure mode; a recovered retry is none.",
        interactions="countIf(failure_mode != '')",
        additive=True,
        empty_is_zero=True,
        rising_is="bad",
    ),
    Measure(
        "failure_rate",
        "Failure rate",
        Unit.RATIO,
        "Failures over interactions.",
        interactions=_ratio("countIf(failure_mode != '')", "count()"),
        rising_is="bad",
    ),
    Measure(
        "validation_failure_rate",
        "Validation failure rate",
        Unit.RATIO,
        "Failed checks over all checks of answers.",
        interactions=_ratio("sum(validation_failures)", "sum(validations)"),
        rising_is="bad",
    ),
    Measure(
        "escalation_rate",
        "Escalation rate",
        Unit.RATIO,
        "Interactions handed to a person, over all.",
        interactions=_ratio("countIf(escalations > 0)", "count()"),
        rising_is="bad",
    ),
    Measure(
        "fallback_rate",
        "Fallback rate",
        Unit.RATIO,
        "Interactions that needed a fallback, over all.",
        interactions=_ratio("countIf(fallbacks > 0)", "count()"),
        rising_is="bad",
    ),
    Measure(
        "retry_rate",
        "Retry rate",
        Unit.RATIO,
        "Generations that repeat a failed one, over all generations.",
        calls=_ratio(f"countIf({_GENERATION} AND is_retry)", f"countIf({_GENERATION})"),
        interactions=_ratio("sum(retries)", "sum(generations)"),
        rising_is="bad",
    ),
    # Latency
    *(
        Measure(
            f"duration_p{p}_s",
            f"Duration, p{p}",
            Unit.SECONDS,
            f"{p} of 100 interactions took at most this.",
            interactions=f"quantileExactOrNull(0.{p})(duration_ns) / 1e9",
            rising_is="bad",
        )
        for p in (50, 95, 99)
    ),
    *(
        Measure(
            f"ttft_p{p}_s",
            f"Time to first token, p{p}",
            Unit.SECONDS,
            f"{p} of 100 streamed generations began to answer within this.",
            calls=f"quantileExactOrNull(0.{p})(ttft_ns) / 1e9",
            rising_is="bad",
        )
        for p in (50, 95)
    ),
    Measure(
        "output_tokens_per_s_p50",
        "Output speed, median",
        Unit.TOKENS_PER_SECOND,
        "Output tokens over the time after the first token (the whole duration where that is unknown), per generation.",
        calls=f"quantileExactIfOrNull(0.5)(({_OUT_CALLS}) / ((duration_ns - ifNull(ttft_ns, 0)) / 1e9), "
        "kind = 'model' AND duration_ns > ifNull(ttft_ns, 0) AND visible_output_tokens > 0)",
        rising_is="good",
    ),
    # Confidence
    Measure(
        "confidence_mean",
        "Confidence, mean",
        Unit.PROBABILITY,
        "Mean confidence of interactions; one source only.",
        interactions=_confidence("avgArrayOrNull(confidence_values)"),
        rising_is="good",
    ),
    *(
        Measure(
            f"confidence_p{p}",
            f"Confidence, p{p}",
            Unit.PROBABILITY,
            f"{p} of 100 interactions have at most this confidence; one source only.",
            interactions=_confidence(f"quantileExactArrayOrNull(0.{p})(confidence_values)"),
            rising_is="good",
        )
        for p in (10, 50, 90)
    ),
    # Feedback
    Measure(
        "feedback_count",
        "Feedback",
        Unit.COUNT,
        "Judgements by users (or by the filtered feedback source).",
        interactions=f"sum({_USER_FEEDBACK})",
        additive=True,
        empty_is_zero=True,
    ),
    Measure(
        "feedback_coverage",
        "Feedback coverage",
        Unit.RATIO,
        "Interactions that users judged, over all.",
        interactions=_ratio(f"countIf({_USER_FEEDBACK} > 0)", "count()"),
        rising_is="good",
    ),
    Measure(
        "feedback_positive_rate",
        "Positive feedback",
        Unit.RATIO,
        "Positive judgements over all that are positive or negative.",
        interactions=_ratio(f"sum({_USER_POSITIVE})", f"sum({_USER_JUDGED})"),
        rising_is="good",
    ),
    Measure(
        "feedback_judged",
        "Judged feedback",
        Unit.COUNT,
        "Judgements that are positive or negative: the n of the positive rate.",
        interactions=f"sum({_USER_JUDGED})",
        additive=True,
        empty_is_zero=True,
    ),
    Measure(
        "confidence_count",
        "Confidence values",
        Unit.COUNT,
        "Interactions' confidence values: the n of the confidence measures.",
        interactions="sum(length(confidence_values))",
        additive=True,
        empty_is_zero=True,
    ),
    # What never arrived
    *(
        Measure(
            f"sdk_dropped_{signal}",
            f"{signal.capitalize()} dropped by SDKs",
            Unit.COUNT,
            f"{signal.capitalize()} that SDKs say they lost before the collector had them, when it heard of it; by loss_reason.",
            losses=f"sumIf(lost, signal = '{signal}')",
            additive=True,
            empty_is_zero=True,
            rising_is="bad",
        )
        for signal in ("spans", "feedback")
    ),
)

MEASURES: Final[dict[str, Measure]] = {measure.name: measure for measure in _ALL}
USER_FEEDBACK_SCOPE: Final = ("user",)

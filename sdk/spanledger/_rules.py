"""What the host decides about content, as values: which secrets are looked for, hooks, and rules for data classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from spanledger._hooks import Hook
from spanledger_schema import semconv
from spanledger_schema.content import SECRET_KINDS

Action = Literal["deny", "strip", "mask"]
RedactArgument = bool | str | Hook | list[str | Hook] | tuple[str | Hook, ...]

ACTIONS: Final[tuple[Action, ...]] = ("deny", "strip", "mask")
"""From the strictest to the mildest."""
_PURPOSE: Final = "purpose:"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is replaced before export.

    Attributes:
        kinds: The kinds of secrets that the built-in patterns look for.
        hooks: Functions of the host, in order, after the patterns.
    """

    kinds: tuple[str, ...] = SECRET_KINDS
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True, slots=True)
class DataRules:
    """What happens to spans of a data class or with a purpose.

    Attributes:
        rules: `(<class> or "purpose:<purpose>", action)`.
    """

    rules: tuple[tuple[str, Action], ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.rules)

    def action(self, attributes: Mapping[str, Any]) -> Action | None:
        """The strictest action that the span's attributes call for; None if there is none."""
        # As in the collector, case does not count: a slip of the pen must not undo a rule.
        data_class, purpose = (str(attributes.get(key, "")).strip().casefold() for key in (semconv.DATA_CLASS, semconv.PURPOSE))
        asked = (data_class, _PURPOSE + purpose)
        found = [action for name, action in self.rules if name.casefold() in asked]
        return min(found, key=ACTIONS.index, default=None)


def parse_redact(value: object) -> Redaction:
    """The `redact` of `init`.

    Raises:
        ValueError: it is none of those.
    """
    if value is None or value is True:
        return Redaction()
    if value is False:
        return Redaction(kinds=())
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    kinds = tuple(kind for kind in SECRET_KINDS if kind in items)
    hooks: list[Callable[[str], str | None]] = []
    for item in items:
        if callable(item):
            hooks.append(item)
        elif item not in SECRET_KINDS:
            raise ValueError(f"redact must be True, False, functions, or of the kinds {', '.join(SECRET_KINDS)}; not {item!r}")
    return Redaction(kinds or SECRET_KINDS, tuple(hooks))


def parse_redact_text(text: str) -> Redaction:
    """`SPANLEDGER_REDACT`: true, false, or kinds with commas.

    Raises:
        ValueError: it is none of those.
    """
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return parse_redact(word in _TRUE)
    return parse_redact([part.strip() for part in word.split(",")])


def parse_rules(rules: Mapping[str, str]) -> DataRules:
    """The `data_rules` of `init`.

    Raises:
        ValueError: an action is none of deny, strip and mask.
    """
    parsed: list[tuple[str, Action]] = []
    for name, wanted in rules.items():
        action = next((action for action in ACTIONS if action == wanted), None)
        if action is None or not isinstance(name, str) or not name:
            raise ValueError(f"data_rules must be {{class: 'deny', 'strip' or 'mask'}}; not {name!r}: {wanted!r}")
        parsed.append((name, action))
    return DataRules(tuple(parsed))


def parse_rules_text(text: str) -> tuple[DataRules, bool]:
    """`SPANLEDGER_DATA_RULES`: `restricted=strip,purpose:training=deny`.

    Returns:
        The rules, and whether all could be read; the data of those that could not are denied.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    read = [(name.strip(), next((a for a in ACTIONS if a == action.strip()), None)) for name, _, action in pairs]
    return DataRules(tuple((name, action or "deny") for name, action in read)), all(action for _, action in read)

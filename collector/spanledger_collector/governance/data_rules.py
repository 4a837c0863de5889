"""What becomes of data of a class or with a purpose before anything is kept: a project's rules. Pure.

Of several rules that match the strictest holds, so their order means nothing. Each action includes the milder ones: what `strip`
and `mask` leave is redacted too.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from spanledger_collector.errors import InvalidQuestion

Action = Literal["deny", "strip", "mask", "redact"]

ACTIONS: Final[dict[Action, str]] = {
    "deny": "the span is refused and kept nowhere",
    "strip": "its content is dropped, its numbers stay",
    "mask": "its content keeps its shape (roles, turns, calls) and loses its words",
    "redact": "secrets and personal data in its text are replaced",
}
"""From the strictest to the mildest."""
_ORDER: Final = tuple(ACTIONS)
_RULES_MAX: Final = 200
_NAME_CHARS_MAX: Final = 100
_FIELDS: Final = ("data_class", "purpose", "action")
_REMEMBERED_MAX: Final = 1_000


class DataRule(NamedTuple):
    """One rule. A class or purpose of None is any, also none; an empty one is data that states none."""

    data_class: str | None
    purpose: str | None
    action: Action


class DataRules:
    """A project's rules, and what they mean for a pair of class and purpose."""

    def __init__(self, rules: Iterable[DataRule]) -> None:
        """Take rules in any order."""
        self.rules: Final = tuple(rules)
        self._actions: dict[tuple[str, str], Action | None] = {}
        self._asks_class = any(rule.data_class is not None for rule in self.rules)
        self._asks_purpose = any(rule.purpose is not None for rule in self.rules)

    def misses(self, stated: tuple[str, str]) -> bool:
        """Whether a class or a purpose that rules ask for is not stated."""
        return (self._asks_class and not stated[0]) or (self._asks_purpose and not stated[1])

    def action(self, data_class: str, purpose: str) -> Action | None:
        """What is to be done with data of a class and a purpose (empty: states none); None where no rule matches.

        Case, surrounding blanks and what cannot be seen do not count: a slip of the pen must not undo a rule. Data of several
        classes or purposes has each in a line of its own, and the strictest of what they mean holds.
        """
        asked = _plain(data_class), _plain(purpose)
        try:
            return self._actions[asked]
        except KeyError:
            classes, purposes = (set(map(_plain, names.split("\n"))) for names in asked)
            found = [
                rule.action
                for rule in self.rules
                if (rule.data_class is None or _plain(rule.data_class) in classes)
                and (rule.purpose is None or _plain(rule.purpose) in purposes)
            ]
            action = min(found, key=_ORDER.index, default=None)
            if len(self._actions) < _REMEMBERED_MAX:
                self._actions[asked] = action
            return action


def parse_data_rules(raw: Any) -> tuple[DataRule, ...]:
    """Read a list of rules.

    Raises:
        InvalidQuestion: a rule cannot be read; says which, and what it must be.
    """
    if not isinstance(raw, list) or len(raw) > _RULES_MAX:
        example = '{"data_class": "restricted", "action": "strip"}'
        raise InvalidQuestion(f"rules is a list of at most {_RULES_MAX} rules, such as {example}.")
    rules = tuple(_parse(item, number) for number, item in enumerate(raw, 1))
    seen: set[tuple[str | None, ...]] = set()
    for rule in rules:
        pair = tuple(None if name is None else _plain(name) for name in rule[:2])
        if pair in seen:
            raise InvalidQuestion("Two rules are about the same class and purpose; keep one of them.")
        seen.add(pair)
    return rules


def as_json(rule: DataRule) -> dict[str, Any]:
    """A rule as the API shows it."""
    return rule._asdict()


def _parse(item: Any, number: int) -> DataRule:
    if not isinstance(item, Mapping):
        raise InvalidQuestion(f"Rule {number} is no object.")
    if unknown := sorted(map(str, set(item) - set(_FIELDS))):
        raise InvalidQuestion(f"Rule {number} has no field {unknown[0][:60]!r}; there are: {', '.join(_FIELDS)}.")
    action = next((known for known in _ORDER if known == item.get("action")), None)
    if action is None:
        raise InvalidQuestion(f"The action of rule {number} is one of {', '.join(_ORDER)}.")
    return DataRule(_name(item, "data_class", number), _name(item, "purpose", number), action)


def _name(item: Mapping[str, Any], field: str, number: int) -> str | None:
    value = item.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _NAME_CHARS_MAX or (value and not value.isprintable()):
        raise InvalidQuestion(
            f"{field} of rule {number} is a name of at most {_NAME_CHARS_MAX} printable characters, "
            'null for any, or "" for data that states none.'
        )
    return value.strip()


def _plain(name: str) -> str:
    if not name.isascii():
        # What looks the same is the same: wide letters, and what came along unseen with a name that was copied.
        name = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return name.strip().casefold()

"""A matcher that backtracks as `re` does and counts what it looks at, so that a test of time needs no clock."""

import re
from collections.abc import Callable, Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import Any

Groups = dict[int, tuple[int, int]]


class Counted:
    """A compiled pattern with `finditer`, `search` and `match` whose steps are added to `count`."""

    def __init__(self, pattern: re.Pattern[str], count: Callable[[], None]) -> None:
        self._pattern = pattern
        self._count = count
        self._tree = list(_parser.parse(pattern.pattern, pattern.flags))

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        for at in range(start, len(text) + 1):
            self._count()
            if self._matches(text, at):
                return self._agreed(self._pattern.search(text, start), at)
        return self._agreed(self._pattern.search(text, start), None)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        at = 0
        while (match := self.search(text, at)) is not None:
            yield match
            at = match.end() if match.end() > match.start() else match.end() + 1

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        found = self._pattern.match(text, start)
        return self._agreed(found, start if self._matches(text, start) else None)

    @staticmethod
    def _agreed(found: re.Match[str] | None, at: int | None) -> re.Match[str] | None:
        assert (found.start() if found else None) == at, "the counting matcher does not do what re does"
        return found

    def _matches(self, text: str, at: int) -> bool:
        return next(self._run(self._tree, text, at, {}), None) is not None

    def _run(self, nodes: list[Any], text: str, at: int, groups: Groups) -> Iterator[int]:
        if not nodes:
            yield at
            return
        self._count()
        (op, args), rest = nodes[0], nodes[1:]
        name = str(op)
        if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            if at < len(text) and _is_one(name, args, text[at]):
                yield from self._run(rest, text, at + 1, groups)
        elif name == "SUBPATTERN":
            for end in self._run(list(args[3]), text, at, groups):
                if args[0]:
                    groups[args[0]] = (at, end)
                yield from self._run(rest, text, end, groups)
        elif name == "BRANCH":
            for branch in args[1]:
                yield from self._run(list(branch) + rest, text, at, groups)
        elif name == "GROUPREF":
            start, end = groups[args]
            if text.startswith(text[start:end], at):
                yield from self._run(rest, text, at + end - start, groups)
        elif name in ("ASSERT", "ASSERT_NOT"):
            direction, inner = args
            width = inner.getwidth()[0] if direction < 0 else 0
            holds = at >= width and next(self._run(list(inner), text, at - width, dict(groups)), None) is not None
            if holds == (name == "ASSERT"):
                yield from self._run(rest, text, at, groups)
        elif name == "POSSESSIVE_REPEAT":
            end = next(self._repeat(args, text, at, groups, 0), None)
            if end is not None:
                yield from self._run(rest, text, end, groups)
        elif name == "MAX_REPEAT":
            for end in self._repeat(args, text, at, groups, 0):
                yield from self._run(rest, text, end, groups)
        else:
            raise NotImplementedError(name)

    def _repeat(self, args: Any, text: str, at: int, groups: Groups, done: int) -> Iterator[int]:
        low, high, inner = args
        nodes = list(inner)
        if len(nodes) == 1 and str(nodes[0][0]) in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            end = at
            while end < len(text) and end - at < high and _is_one(str(nodes[0][0]), nodes[0][1], text[end]):
                self._count()
                end += 1
            for stop in range(end, at + low - 1, -1):
                self._count()
                yield stop
            return
        # A loop rather than recursion, since some repeat without bound: the ends of each number of repetitions, longest first.
        stack: list[Iterator[int]] = [iter([at])]
        ends: list[int] = []
        while stack:
            self._count()
            end = next(stack[-1], None)
            if end is None:
                stack.pop()
                if ends:
                    reached = ends.pop()
                    if len(stack) - 1 >= low:
                        yield reached
                continue
            ends.append(end)
            is_full = len(stack) - 1 >= high
            stack.append(iter(()) if is_full else self._run(nodes, text, end, groups))


def _is_one(name: str, args: Any, character: str) -> bool:
    if name == "ANY":
        return character != "\n"
    if name == "LITERAL":
        return ord(character) == args
    if name == "NOT_LITERAL":
        return ord(character) != args
    is_negated, found = False, False
    for op, value in args:
        kind = str(op)
        if kind == "NEGATE":
            is_negated = True
        elif kind == "LITERAL":
            found |= ord(character) == value
        elif kind == "RANGE":
            found |= value[0] <= ord(character) <= value[1]
        else:
            found |= (
                re.match(
                    {"CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W", "CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s"}[
                        str(value)
                    ],
                    character,
                )
                is not None
            )
    return found != is_negated

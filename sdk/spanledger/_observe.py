"""`@observe`: a function as a span, sync, async or generator.

A generator's span is current only while the generator's own code runs, never between two items, and ends when it is
exhausted, closed or fails.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, cast, overload

from spanledger._attributes import Attributes, put_documents, put_json, put_messages
from spanledger._context import Inherited
from spanledger._guard import Guard
from spanledger._runtime import State
from spanledger._spans import SpanHandle
from spanledger._values import to_json, to_text
from spanledger_schema import semconv

ObserveKind = Literal["span", "interaction", "retrieval", "tool"]
Function = TypeVar("Function", bound=Callable[..., Any])
ReadArguments = Callable[[], dict[str, object]]

_KINDS: Final = ("span", "interaction", "retrieval", "tool")
_ITEMS_MAX: Final = 1_000
_CAPTURE: Final = Guard("observe capture")
_STEP: Final = Guard("observe")


class Observed(SpanHandle):
    """The span of one call of an observed function."""

    def __init__(self, name: str, kind: ObserveKind, arguments: ReadArguments | None) -> None:
        self._name = name
        self._kind = kind
        self._arguments = arguments

    def _describe(self, state: State, inherited: Inherited) -> tuple[str, Attributes, Inherited]:
        attributes: Attributes = {}
        name = self._name
        if self._kind == "interaction":
            attributes[semconv.INTERACTION] = name
            # A frame of its own, so that a tag set below does not reach siblings.
            inherited = dict(inherited)
        elif self._kind == "tool":
            attributes.update({semconv.OPERATION: semconv.OP_EXECUTE_TOOL, semconv.TOOL_NAME: name})
            name = f"{semconv.OP_EXECUTE_TOOL} {name}"
        elif self._kind == "retrieval":
            attributes.update({semconv.OPERATION: semconv.OP_RETRIEVAL, semconv.DATA_SOURCE_ID: name})
            name = f"{semconv.OP_RETRIEVAL} {name}"
        if self._arguments is not None and state.captures_content:
            with _CAPTURE:
                self._put_arguments(attributes, self._arguments(), state)
        self._arguments = None
        return name, attributes, inherited

    def _put_arguments(self, attributes: Attributes, arguments: dict[str, object], state: State) -> None:
        text = to_json(arguments, state.content_chars_max, print_objects=False)
        if self._kind == "tool":
            attributes[semconv.TOOL_ARGUMENTS] = text
        elif self._kind == "retrieval":
            attributes[semconv.RETRIEVAL_QUERY] = _lone_text(arguments) or text
        else:
            put_messages(attributes, semconv.INPUT_MESSAGES, _lone_text(arguments) or text, "user", state)

    def put_result(self, result: object) -> None:
        """Record what the function returned or yielded."""
        state = self._state
        if state is None or result is None or not state.captures_content:
            return
        with _CAPTURE:
            attributes: Attributes = {}
            if self._kind == "tool":
                put_json(attributes, semconv.TOOL_RESULT, result, state, print_objects=False)
            elif self._kind == "retrieval":
                put_documents(attributes, result, state)
            else:
                text = result if isinstance(result, str) else to_json(result, print_objects=False)
                put_messages(attributes, semconv.OUTPUT_MESSAGES, text, "assistant", state)
            self._set(attributes)


OpenSpan = Callable[[tuple[Any, ...], dict[str, Any]], Observed]


class _Stage:
    """The span of a generator: current in each `with` block, ended by `end`."""

    __slots__ = ("_items", "_keeps_output", "_span", "failure")

    def __init__(self, span: Observed, keeps_output: bool) -> None:
        self._span = span.__enter__()
        self._span.leave()
        self._keeps_output = keeps_output
        self._items: list[object] = []
        self.failure: BaseException | None = None

    def __enter__(self) -> None:
        with _STEP:
            self._span.enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _STEP:
            self._span.leave()

    def add(self, item: object) -> None:
        """Keep what was yielded, up to a bound."""
        if self._keeps_output and len(self._items) < _ITEMS_MAX:
            self._items.append(item)

    def end(self) -> None:
        """Record what was yielded (text is joined) and end the span."""
        items = self._items
        if items and all(type(item) is str for item in items):
            self._span.put_result("".join(cast("list[str]", items)))
        elif items:
            self._span.put_result(items)
        with _STEP:
            self._span.end(self.failure)


@overload
def observe(function: Function) -> Function: ...
@overload
def observe(
    *,
    name: str | None = None,
    kind: ObserveKind = "span",
    capture_input: bool = True,
    capture_output: bool = True,
) -> Callable[[Function], Function]: ...
def observe(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    kind: ObserveKind = "span",
    capture_input: bool = True,
    capture_output: bool = True,
) -> Any:
    """Record each call of a function as a span: `@observe` or `@observe(kind="tool", capture_output=False)`.

    Works for functions, coroutine functions, generators and async generators, and methods.

    Args:
        function: What is decorated.
        name: Name of the span; default the function's own.
        kind: `interaction` for the entry to what a user asked, `tool`, `retrieval`, or a plain `span`.
        capture_input: Record the arguments (never `self`), if content is captured at all.
        capture_output: Record what is returned or yielded, if content is captured at all.

    Raises:
        ValueError: for an unknown kind, when the function is defined.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}")

    def decorate(target: Any) -> Any:
        if isinstance(target, (staticmethod, classmethod)):
            return type(target)(decorate(target.__func__))
        called = to_text(name or getattr(target, "__name__", None) or type(target).__name__)
        read_arguments = _argument_reader(target) if capture_input else None

        def open_span(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Observed:
            return Observed(called, kind, None if read_arguments is None else lambda: read_arguments(args, kwargs))

        return _wrapper_for(target)(target, open_span, capture_output)

    return decorate(function) if function is not None else decorate


def _wrapper_for(target: Callable[..., Any]) -> Callable[[Callable[..., Any], OpenSpan, bool], Callable[..., Any]]:
    if inspect.isasyncgenfunction(target):
        return _wrap_async_generator
    if inspect.isgeneratorfunction(target):
        return _wrap_generator
    return _wrap_coroutine if inspect.iscoroutinefunction(target) else _wrap_function


def _wrap_function(target: Callable[..., Any], open_span: OpenSpan, keeps_output: bool) -> Callable[..., Any]:
    @functools.wraps(target)
    def run(*args: Any, **kwargs: Any) -> Any:
        with open_span(args, kwargs) as span:
            result = target(*args, **kwargs)
            if keeps_output:
                span.put_result(result)
            return result

    return run


def _wrap_coroutine(target: Callable[..., Any], open_span: OpenSpan, keeps_output: bool) -> Callable[..., Any]:
    @functools.wraps(target)
    async def run(*args: Any, **kwargs: Any) -> Any:
        with open_span(args, kwargs) as span:
            result = await target(*args, **kwargs)
            if keeps_output:
                span.put_result(result)
            return result

    return run


def _wrap_generator(target: Callable[..., Any], open_span: OpenSpan, keeps_output: bool) -> Callable[..., Any]:
    @functools.wraps(target)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        source = target(*args, **kwargs)
        stage = _Stage(open_span(args, kwargs), keeps_output)
        step = functools.partial(source.send, None)
        try:
            while True:
                with stage:
                    item = step()
                stage.add(item)
                try:
                    step = functools.partial(source.send, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as thrown:  # noqa: BLE001 - the consumer threw it in; it belongs to the generator
                    step = functools.partial(source.throw, thrown)
        except StopIteration as stop:
            return stop.value
        except BaseException as error:
            stage.failure = error
            raise
        finally:
            with stage:
                source.close()
            stage.end()

    return run


def _wrap_async_generator(target: Callable[..., Any], open_span: OpenSpan, keeps_output: bool) -> Callable[..., Any]:
    @functools.wraps(target)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        source = target(*args, **kwargs)
        stage = _Stage(open_span(args, kwargs), keeps_output)
        step = functools.partial(source.asend, None)
        try:
            while True:
                with stage:
                    item = await step()
                stage.add(item)
                try:
                    step = functools.partial(source.asend, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as thrown:  # noqa: BLE001 - the consumer threw it in; it belongs to the generator
                    step = functools.partial(source.athrow, thrown)
        except StopAsyncIteration:
            return
        except BaseException as error:
            stage.failure = error
            raise
        finally:
            with stage:
                await source.aclose()
            stage.end()

    return run


def _argument_reader(target: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, object]]:
    code = getattr(inspect.unwrap(target), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    skipped = 1 if names[:1] in (("self",), ("cls",)) else 0

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, object]:
        found: dict[str, object] = dict(zip(names[skipped:], args[skipped:], strict=False))
        if rest := args[max(skipped, len(names)) :]:
            found["args"] = rest
        return {**found, **kwargs}

    return read


def _lone_text(arguments: dict[str, object]) -> str | None:
    values = list(arguments.values())
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None

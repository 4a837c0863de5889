"""`generation`, `retrieval`, `tool`: the calls that an interaction makes."""

from decimal import Decimal
from typing import ClassVar, Final

from opentelemetry.trace import SpanKind

from spanledger import _clock
from spanledger._attributes import (
    Attributes,
    put_cost,
    put_count,
    put_documents,
    put_finish,
    put_json,
    put_messages,
    put_reading,
    put_text,
)
from spanledger._context import Inherited
from spanledger._counters import COUNTERS
from spanledger._guard import survive
from spanledger._messages import encode_instructions
from spanledger._runtime import State
from spanledger._spans import SIGNAL, SpanHandle
from spanledger._usage import read_response
from spanledger._values import clip, to_text
from spanledger_schema import semconv

_ATTEMPTS_MAX: Final = 1_000


class Generation(SpanHandle):
    """A call to a model that is going on; made by `generation`."""

    kind: ClassVar[SpanKind] = SpanKind.CLIENT
    _is_first_token_seen = False

    def __init__(
        self,
        model: str,
        provider: str | None,
        input: object,
        operation: str,
        prompt_version: str | None,
        attempt: int | None,
        stream: bool,
        system: object,
        tools: object,
        data_class: str | None,
        purpose: str | None,
    ) -> None:
        self._model = model
        self._provider = provider
        self._input = input
        self._operation = operation
        self._prompt_version = prompt_version
        self._attempt = attempt
        self._stream = stream
        self._system = system
        self._tools = tools
        self._data_class = data_class
        self._purpose = purpose

    def _describe(self, state: State, inherited: Inherited) -> tuple[str, Attributes, Inherited]:
        limit = state.text_chars_max
        operation, model = to_text(self._operation, limit), to_text(self._model, limit)
        attributes: Attributes = {semconv.OPERATION: operation, semconv.REQUEST_MODEL: model}
        if self._provider is not None:
            attributes[semconv.PROVIDER] = to_text(self._provider, limit)
        if self._prompt_version is not None:
            put_text(attributes, semconv.PROMPT_VERSION, self._prompt_version, state)
        if self._data_class is not None:
            put_text(attributes, semconv.DATA_CLASS, self._data_class, state)
        if self._purpose is not None:
            put_text(attributes, semconv.PURPOSE, self._purpose, state)
        if self._attempt is not None:
            if type(self._attempt) is int and 1 <= self._attempt <= _ATTEMPTS_MAX:
                attributes[semconv.RETRY_ATTEMPT] = self._attempt
            else:
                COUNTERS.invalid_values += 1
        if self._stream:
            attributes[semconv.REQUEST_STREAM] = True
        put_messages(attributes, semconv.INPUT_MESSAGES, self._input, "user", state)
        if self._system is not None and state.captures_content:
            attributes[semconv.SYSTEM_INSTRUCTIONS] = clip(encode_instructions(self._system), state.content_chars_max)
        if self._tools is not None:
            put_json(attributes, semconv.TOOL_DEFINITIONS, self._tools, state)
        # Prompts may be large, and a handle may be kept for long.
        self._input = self._system = self._tools = None
        return f"{operation} {model}", attributes, inherited

    def record(
        self,
        *,
        output: object = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        cache_write_1h_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        finish_reason: str | None = None,
        response_model: str | None = None,
        response_id: str | None = None,
        cost_usd: Decimal | float | str | None = None,
    ) -> None:
        """Record the answer; may be called several times, the last value of each counts.

        Args:
            output: The answer, as text or messages.
            input_tokens: Tokens sent, cached ones included.
            output_tokens: Tokens produced, reasoning included.
            cache_read_tokens: The part of the input that came from the provider's cache.
            cache_write_tokens: The part of the input that was written to it, all lifetimes.
            cache_write_1h_tokens: The part of those writes that lives one hour.
            reasoning_tokens: The part of the output that was reasoning.
            finish_reason: Why it stopped, such as `stop`, `length`, `tool_calls`, `content_filter`.
            response_model: The model that answered, if the provider names it.
            response_id: The provider's id of the answer.
            cost_usd: What the provider says it cost; leave it out to have it priced.
        """
        state = self._live()
        if state is None:
            return
        try:
            attributes: Attributes = {}
            if input_tokens is not None:
                put_count(attributes, semconv.INPUT_TOKENS, input_tokens)
            if output_tokens is not None:
                put_count(attributes, semconv.OUTPUT_TOKENS, output_tokens)
            if cache_read_tokens is not None:
                put_count(attributes, semconv.CACHE_READ_TOKENS, cache_read_tokens)
            if cache_write_tokens is not None:
                put_count(attributes, semconv.CACHE_WRITE_TOKENS, cache_write_tokens)
            if cache_write_1h_tokens is not None:
                put_count(attributes, semconv.CACHE_WRITE_1H_TOKENS, cache_write_1h_tokens)
            if reasoning_tokens is not None:
                put_count(attributes, semconv.REASONING_TOKENS, reasoning_tokens)
            if finish_reason is not None:
                put_finish(attributes, finish_reason, state)
            if response_model is not None:
                put_text(attributes, semconv.RESPONSE_MODEL, response_model, state)
            if response_id is not None:
                put_text(attributes, semconv.RESPONSE_ID, response_id, state)
            if cost_usd is not None:
                put_cost(attributes, cost_usd)
            put_messages(attributes, semconv.OUTPUT_MESSAGES, output, "assistant", state)
            self._set(attributes)
        except Exception as failure:  # noqa: BLE001 - the wall, see _guard
            survive("signal", failure)

    def record_response(self, response: object) -> None:
        """Record the response object of a provider.

        OpenAI (chat, completions, responses, embeddings), Anthropic and Gemini are known, as objects or dictionaries.
        Usage is converted to OpenTelemetry's meaning. A shape that is not known records nothing.
        """
        state = self._live()
        if state is not None:
            with SIGNAL:
                attributes: Attributes = {}
                put_reading(attributes, read_response(response), state)
                self._set(attributes)

    def first_token(self) -> None:
        """Say that the first token of a stream has come; further calls do nothing."""
        if not self._is_first_token_seen and self._live() is not None:
            self._is_first_token_seen = True
            with SIGNAL:
                waited_s = max(0.0, (_clock.now_ns() - self._started_ns) / 1e9)
                self._set({semconv.TIME_TO_FIRST_CHUNK: waited_s, semconv.REQUEST_STREAM: True})


class Retrieval(SpanHandle):
    """A search for documents that is going on; made by `retrieval`."""

    kind: ClassVar[SpanKind] = SpanKind.CLIENT

    def __init__(self, name: str, query: object) -> None:
        self._name = name
        self._query = query

    def _describe(self, state: State, inherited: Inherited) -> tuple[str, Attributes, Inherited]:
        name = to_text(self._name, state.text_chars_max)
        attributes: Attributes = {semconv.OPERATION: semconv.OP_RETRIEVAL, semconv.DATA_SOURCE_ID: name}
        self._put_query(attributes, self._query, state)
        return f"{semconv.OP_RETRIEVAL} {name}", attributes, inherited

    def record(self, *, documents: object = None, query: object = None) -> None:
        """Record what was found: texts, dictionaries with `content`, `id`, `score`, or a framework's documents."""
        state = self._live()
        if state is not None:
            with SIGNAL:
                attributes: Attributes = {}
                self._put_query(attributes, query, state)
                put_documents(attributes, documents, state)
                self._set(attributes)

    @staticmethod
    def _put_query(attributes: Attributes, query: object, state: State) -> None:
        if query is not None and state.captures_content:
            attributes[semconv.RETRIEVAL_QUERY] = to_text(query, state.content_chars_max)


class Tool(SpanHandle):
    """A call to a tool that is going on; made by `tool`."""

    def __init__(self, name: str, arguments: object, call_id: str | None) -> None:
        self._name = name
        self._arguments = arguments
        self._call_id = call_id

    def _describe(self, state: State, inherited: Inherited) -> tuple[str, Attributes, Inherited]:
        name = to_text(self._name, state.text_chars_max)
        attributes: Attributes = {semconv.OPERATION: semconv.OP_EXECUTE_TOOL, semconv.TOOL_NAME: name}
        put_text(attributes, semconv.TOOL_CALL_ID, self._call_id, state)
        put_json(attributes, semconv.TOOL_ARGUMENTS, self._arguments, state)
        self._arguments = None
        return f"{semconv.OP_EXECUTE_TOOL} {name}", attributes, inherited

    def record(self, *, result: object = None) -> None:
        """Record what the tool answered."""
        state = self._live()
        if state is not None:
            with SIGNAL:
                attributes: Attributes = {}
                put_json(attributes, semconv.TOOL_RESULT, result, state)
                self._set(attributes)


def generation(
    model: str,
    provider: str | None = None,
    *,
    input: object = None,
    operation: str = semconv.OP_CHAT,
    prompt_version: str | None = None,
    attempt: int | None = None,
    stream: bool = False,
    system: object = None,
    tools: object = None,
    data_class: str | None = None,
    purpose: str | None = None,
) -> Generation:
    """One call to a model, as a `with` block around it.

    Args:
        model: The model asked for.
        provider: Such as `openai`, `anthropic`, `aws.bedrock`.
        input: The prompt, as text or messages in the provider's own form.
        operation: `chat`, `text_completion`, `generate_content`, `embeddings`, `rerank`.
        prompt_version: Which prompt is in use, if it differs from the interaction's.
        attempt: 1 for the first try of this call, 2 for the first retry, and so on.
        stream: Whether the answer is streamed; then call `first_token` when it begins.
        system: System instructions that are not among the messages.
        tools: Definitions of the tools that the model may call.
        data_class: How protected its data is, if it differs from the interaction's.
        purpose: What the data may be used for, if it differs from the interaction's.
    """
    return Generation(model, provider, input, operation, prompt_version, attempt, stream, system, tools, data_class, purpose)


def retrieval(name: str, *, query: object = None) -> Retrieval:
    """One search for documents, as a `with` block; `name` is what is searched."""
    return Retrieval(name, query)


def tool(name: str, *, arguments: object = None, call_id: str | None = None) -> Tool:
    """One call to a tool, as a `with` block; `call_id` is the model's id of the call."""
    return Tool(name, arguments, call_id)

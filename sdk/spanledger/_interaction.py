"""`interaction`: one thing that a user asked of the AI."""

from collections.abc import Mapping

from spanledger._attributes import Attributes, identity_and_tags, put_messages, put_tag, put_text
from spanledger._context import Inherited
from spanledger._runtime import State
from spanledger._spans import SIGNAL, SpanHandle
from spanledger._values import to_text
from spanledger_schema import semconv


class Interaction(SpanHandle):
    """An interaction that is going on; made by `interaction`."""

    def __init__(
        self,
        name: str,
        feature: str | None,
        user: str | None,
        session: str | None,
        tags: Mapping[str, str] | None,
        prompt_version: str | None,
        release: str | None,
        input: object,
        data_class: str | None,
        purpose: str | None,
    ) -> None:
        self._name = name
        self._feature = feature
        self._user = user
        self._session = session
        self._tags = tags
        self._prompt_version = prompt_version
        self._release = release
        self._input = input
        self._data_class = data_class
        self._purpose = purpose

    def _describe(self, state: State, inherited: Inherited) -> tuple[str, Attributes, Inherited]:
        name = to_text(self._name, state.text_chars_max) or "interaction"
        own = identity_and_tags(
            state,
            feature=self._feature,
            user=self._user,
            session=self._session,
            tags=self._tags,
            prompt_version=self._prompt_version,
            release=self._release,
            data_class=self._data_class,
            purpose=self._purpose,
        )
        attributes: Attributes = {semconv.INTERACTION: name}
        put_messages(attributes, semconv.INPUT_MESSAGES, self._input, "user", state)
        self._input = None
        return name, attributes, {**inherited, **own}

    @property
    def id(self) -> str:
        """The id for feedback and reads, `<trace_id>-<span_id>`; empty before `with` and without `init`."""
        context = self._span.get_span_context()
        return f"{context.trace_id:032x}-{context.span_id:016x}" if context.is_valid else ""

    def record(self, *, output: object = None, input: object = None) -> None:
        """Record what was asked or answered, as text or messages."""
        state = self._live()
        if state is not None:
            with SIGNAL:
                attributes: Attributes = {}
                put_messages(attributes, semconv.INPUT_MESSAGES, input, "user", state)
                put_messages(attributes, semconv.OUTPUT_MESSAGES, output, "assistant", state)
                self._set(attributes)

    def tag(self, key: str, value: str) -> None:
        """Tag it, and what is started below it from now on; usable as the dimension `tag:<key>`."""
        state = self._live()
        if state is not None:
            with SIGNAL:
                attributes: dict[str, str] = {}
                put_tag(attributes, key, value, state)
                self._set(attributes)
                self.inherited.update(attributes)

    def fallback(self, to_model: str | None = None, *, from_model: str | None = None, reason: str | None = None) -> None:
        """Say that the answer comes from a stand-in, such as a smaller model or a canned text.

        Args:
            to_model: What answered; default `other`.
            from_model: What should have answered.
            reason: Why it did not.
        """
        self._say({semconv.FALLBACK_TO: to_model or "other", semconv.FALLBACK_FROM: from_model}, semconv.FALLBACK_REASON, reason)

    def escalate(self, to: str = "human", *, reason: str | None = None) -> None:
        """Say that it was handed on, to a person or a team."""
        self._say({semconv.ESCALATION_TO: to}, semconv.ESCALATION_REASON, reason)

    def _say(self, words: Mapping[str, str | None], reason_key: str, reason: str | None) -> None:
        state = self._live()
        if state is not None:
            with SIGNAL:
                attributes: Attributes = {}
                for key, word in {**words, reason_key: reason}.items():
                    put_text(attributes, key, word, state)
                self._set(attributes)


def interaction(
    name: str,
    *,
    feature: str | None = None,
    user: str | None = None,
    session: str | None = None,
    tags: Mapping[str, str] | None = None,
    prompt_version: str | None = None,
    release: str | None = None,
    input: object = None,
    data_class: str | None = None,
    purpose: str | None = None,
) -> Interaction:
    """One thing that a user asked of the AI, as a `with` block around everything done for it.

    Args:
        name: What kind of request it is, such as `answer`; few different ones.
        feature: The part of the product that it belongs to.
        user: Id of the user.
        session: Id of the conversation.
        tags: Further dimensions of your own.
        prompt_version: Which prompt is in use.
        release: Version of the application, if it differs from the process's.
        input: What was asked, as text or messages.
        data_class: How protected its data is, such as `restricted`; `init(data_rules=…)` and the collector's rules go by it.
        purpose: What the data may be used for.

    All but `name` and `input` are inherited by every span below it, those of other instrumentations too.
    """
    return Interaction(name, feature, user, session, tags, prompt_version, release, input, data_class, purpose)

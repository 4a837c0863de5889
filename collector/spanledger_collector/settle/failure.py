"""How an interaction failed: ordered pure rules, the first that holds names the mode. A recovered attempt is no failure.

Order: the error that ended it (by class, which has the HTTP status in it), the last answer's finish reason, a failed check, a
tool or retrieval that failed and that nothing answered after, a refusal, a cut or an empty answer, a user's rejection.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spanledger_collector.settle.tree import Node


class Evidence(NamedTuple):
    """What the rules look at.

    Attributes:
        root: The interaction's root span, or None when it has not arrived.
        calls: Its calls in order of their start.
        validations: The last result of each check, by name.
        is_rejected: Whether a user judged it negatively, and nobody positively.
    """

    root: Node | None
    calls: Sequence[Node]
    validations: Mapping[str, bool]
    is_rejected: bool


def failure_mode(evidence: Evidence) -> tuple[str, str]:
    """The failure mode (a key of `FAILURE_MODES`) and its reason in words; both empty when it did not fail."""
    models = [node for node in evidence.calls if node.is_model]
    last = models[-1] if models else None
    if len(models) > 1:
        last = max(models, key=lambda node: (node.row.start_time + node.row.duration_ns, node.row.span_id))
    steps = [node for node in evidence.calls if not node.is_model and node.is_failed] if len(models) < len(evidence.calls) else []
    broken = steps[-1] if steps else None
    if broken is not None and last is not None and not last.is_failed and _ends(last) >= _ends(broken):
        broken = None
    if last is not None and last.is_failed:
        return last.row.error_class or "error", _error_words(last)
    if last is not None and last.row.finish_reason == "content_filter":
        return "content_filter", "the last answer was stopped by a content filter"
    if last is not None and last.row.finish_reason == "error":
        return "provider_error", "the last answer ended with the finish reason error"
    if failed := sorted(name for name, passed in evidence.validations.items() if not passed):
        return "validation", f"failed check: {', '.join(failed)[:200]}"
    root = evidence.root
    if broken is not None:
        return ("tool_error" if broken.row.kind == "tool" else "retrieval_error"), _error_words(broken)
    if root is not None and root.is_failed:
        return root.row.error_class or "error", _error_words(root)
    return _answer_mode(last, evidence.is_rejected)


def _answer_mode(last: Node | None, is_rejected: bool) -> tuple[str, str]:
    if last is not None:
        if last.row.finish_reason == "refusal" or last.row.has_output == 3:
            return "refusal", "the model refused in its last answer"
        if last.row.finish_reason == "length":
            return "truncated", "the last answer hit the token limit"
        if last.row.has_output == 2 and last.row.finish_reason != "tool_calls":
            return "empty", "the last answer is empty"
    return ("rejected", "a user rejected the answer") if is_rejected else ("", "")


def _ends(node: Node) -> int:
    return node.row.start_time + node.row.duration_ns


def _error_words(node: Node) -> str:
    row = node.row
    status = f" (HTTP {row.http_status})" if row.http_status >= 400 else ""
    return f"{row.name[:120]}: {row.error_type[:120] or 'error'}{status}"

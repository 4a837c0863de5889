"""`spanledger doctor`."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from spanledger.cli import FAILURE, UNREACHABLE
from spanledger.cli._show import CONSOLE, AsJson, Project, Url, connect, safe, show_json
from spanledger.client import ApiError, Client, ClientError, NotFound, Unauthorized, Unreachable
from spanledger_schema.losses import loss_reason

_READ_BACK_S: Final = 5.0
_APP: Final = "spanledger-doctor"
_LOST: Final = {"sdk_dropped_spans": "spans", "sdk_dropped_feedback": "judgements"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None for what is only told."""

    what: str
    ok: bool | None
    detail: str
    exit_code: int = FAILURE


def doctor(
    write: Annotated[bool, typer.Option(help="Send a span that is no interaction, and read it back.")] = True,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on without data that the store has lost; it is noted in the audit log.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Check that the collector is there, ready, and counts what is sent to it."""
    worst = 0
    with connect(url, project) as client:
        if accept_loss:
            client.call("POST", "/api/v1/store/accept-loss")
        for finding in _examine(client, url, project, write):
            if finding.ok is False:
                worst = max(worst, finding.exit_code)
            if as_json:
                show_json({key: value for key, value in asdict(finding).items() if key != "exit_code"})
            else:
                mark, style = {True: ("ok  ", "green"), False: ("FAIL", "bold red"), None: ("    ", "")}[finding.ok]
                CONSOLE.print(Text.assemble((mark, style), "  ", (f"{finding.what:<12}", "bold"), safe(finding.detail, 300)))
    if worst:
        raise typer.Exit(worst)


def _examine(client: Client, url: str | None, project: str | None, write: bool) -> Iterator[Finding]:
    yield Finding("client", None, f"spanledger {version('spanledger')}")
    try:
        status = client.status()
    except Unreachable as error:
        yield Finding("collector", False, str(error), UNREACHABLE)
        return
    except Unauthorized as error:
        yield Finding("key", False, f"{error}; set SPANLEDGER_API_KEY")
        return
    except ClientError as error:
        yield Finding("collector", False, str(error))
        return
    yield from _tell_status(status)
    yield from _tell_losses(client)
    if client.ready():
        yield Finding("ready", True, "it takes data")
    else:
        said = client.readiness()
        reason = said.get("reason") or "its store is starting, full or away"
        yield Finding("ready", False, f"it is alive, but not ready (/readyz): {reason} {said.get('advice') or ''}".rstrip())
        return
    if write:
        yield _round_trip(client, url, project)


def _tell_status(status: dict[str, Any]) -> Iterator[Finding]:
    theirs, ours = str(status.get("version")), version("spanledger")
    is_same = theirs.split(".")[:2] == ours.split(".")[:2]
    note = "" if is_same else f"; this client is {ours}, which may not fit"
    yield Finding("collector", True, f"version {theirs}{note}")
    waiting, held = status.get("waiting_spans"), status.get("quarantined_spans")
    if waiting:
        yield Finding("waiting", False, f"{waiting:,} spans wait on disk for the store; they go in when it is back")
    if held:
        yield Finding("quarantine", False, f"the store refused {held:,} spans; GET /api/v1/quarantine says which and why")
    pending = status.get("pending_traces")
    # A key of one project is not told what others have.
    to_settle = "" if pending is None else f", {pending} traces to settle"
    yield Finding("data", None, f"through {status.get('data_through') or 'nothing yet'}{to_settle}")


def _tell_losses(client: Client) -> Iterator[Finding]:
    """What SDKs say that they lost during the last day, with what to do about each reason."""
    start = datetime.now(UTC) - timedelta(days=1)
    query = {"measures": list(_LOST), "dimensions": ["app", "loss_reason"], "start": start.isoformat()}
    try:
        rows = (client.call("POST", "/api/v1/query", body=query) or {}).get("rows", [])
    except ApiError as error:
        yield Finding("sdk losses", None, f"cannot be asked for: {error}")
        return
    for app, name, *counts in rows:
        reason = loss_reason(str(name))
        lost = " and ".join(f"{count:,} {words}" for count, words in zip(counts, _LOST.values(), strict=True) if count)
        detail = f"the SDK of {app or 'an unnamed service'} dropped {lost} within a day: {reason.words}; {reason.advice}"
        if lost:
            yield Finding("sdk losses", None if reason.is_meant else False, detail)


def _round_trip(client: Client, url: str | None, project: str | None) -> Finding:
    from opentelemetry.sdk.trace import TracerProvider

    import spanledger

    provider = TracerProvider(shutdown_on_exit=False)
    spanledger.init(_APP, endpoint=url, project=project, capture="none", tracer_provider=provider)
    began = time.monotonic()
    # A plain span: whoever looks after the collector must not change anybody's numbers.
    with provider.get_tracer(_APP).start_as_current_span("doctor") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    spanledger.flush(_READ_BACK_S)
    stats = spanledger.stats()
    if not stats.spans_sent:
        reasons = ", ".join(stats.spans_dropped) or "no answer in time"
        return Finding("round trip", False, f"the span was not taken: {reasons}")
    while time.monotonic() - began < _READ_BACK_S:
        try:
            client.interaction(trace_id)
        except NotFound:
            time.sleep(0.05)
        except ApiError as error:
            return Finding("round trip", False, f"the span was taken but cannot be read: {error}")
        else:
            return Finding("round trip", True, f"sent and read back in {time.monotonic() - began:.2f} s")
    return Finding("round trip", False, f"the span was taken, but is not there after {_READ_BACK_S:.0f} s")

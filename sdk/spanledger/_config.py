"""Settings of the SDK: arguments, then SPANLEDGER_*, then OTEL_*, then defaults.

A wrong argument is a programming mistake and raises `ValueError` from `init`; a wrong environment variable is an
operator's mistake, found at run time, and only logs: the host must start. An unknown capture mode fails closed
(`none`).
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import unquote, urlsplit

from spanledger._guard import LOGGER
from spanledger._rules import DataRules, Redaction, parse_redact, parse_redact_text, parse_rules, parse_rules_text
from spanledger_schema import semconv

Capture = Literal["full", "metadata", "none"]

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:4318"
DEFAULT_APP: Final = "unknown_service"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Config:
    """Resolved settings of one `init`.

    Attributes:
        app: `service.name`.
        endpoint: Base URL of the collector, without `/v1/traces`.
        headers: Sent with every request; holds the key, hence not in `repr`.
        environment: `deployment.environment.name`, such as `production`.
        release: `service.version`.
        capture: What content leaves the process, see `spanledger.init`.
        enabled: False makes every call a no-op.
        instrument: Switch on installed GenAI instrumentors.
        spool: Folder for what cannot be delivered now, or None.
        redaction: What is replaced before it leaves the process.
        data_rules: What happens to spans of a data class or with a purpose.
        explicit: Which of app, environment and release came from arguments or SPANLEDGER_*; only those override the
            resource of a tracer provider that the host owns.
    """

    app: str
    endpoint: str
    headers: Mapping[str, str] = field(repr=False)
    environment: str | None
    release: str | None
    capture: Capture
    enabled: bool
    instrument: bool
    spool: str | None
    redaction: Redaction
    data_rules: DataRules
    explicit: frozenset[str]

    def resource_attributes(self) -> dict[str, str | None]:
        """Resource attributes that identify this application; None means "not set"."""
        return {
            semconv.SERVICE_NAME: self.app,
            semconv.SERVICE_VERSION: self.release,
            semconv.ENVIRONMENT: self.environment,
        }

    def explicit_resource_attributes(self) -> dict[str, str | None]:
        """Those of `resource_attributes` that somebody asked for by name."""
        by_setting = zip(("app", "release", "environment"), self.resource_attributes().items(), strict=True)
        return {key: value for setting, (key, value) in by_setting if setting in self.explicit}


def resolve_config(
    *,
    app: str | None,
    endpoint: str | None,
    api_key: str | None,
    project: str | None,
    environment: str | None,
    release: str | None,
    capture: str | None,
    enabled: bool | None,
    instrument: bool | None,
    spool: str | bool | None = None,
    redact: object = None,
    data_rules: Mapping[str, str] | None = None,
) -> Config:
    """Combine arguments and environment.

    Raises:
        ValueError: An argument (not an environment variable) is unusable.
    """
    otel_resource = _pairs(os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    chosen = {
        "app": app or _env("APP"),
        "environment": environment or _env("ENVIRONMENT"),
        "release": release or _env("RELEASE"),
    }
    otel_environment = otel_resource.get(semconv.ENVIRONMENT) or otel_resource.get("deployment.environment")
    otel_app = os.environ.get("OTEL_SERVICE_NAME") or otel_resource.get(semconv.SERVICE_NAME)
    headers = _pairs(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
    key = api_key or _env("API_KEY")
    if key:
        headers["authorization"] = f"Bearer {_header_value('api_key', key)}"
    named_project = project or _env("PROJECT")
    if named_project:
        headers[semconv.PROJECT_HEADER] = _header_value("project", named_project)
    switched_on = enabled if enabled is not None else _flag("ENABLED", default=True)
    return Config(
        app=chosen["app"] or otel_app or DEFAULT_APP,
        endpoint=_endpoint(endpoint),
        headers=headers,
        environment=chosen["environment"] or otel_environment,
        release=chosen["release"] or otel_resource.get(semconv.SERVICE_VERSION),
        capture=_capture(capture),
        enabled=switched_on and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true",
        instrument=instrument if instrument is not None else _flag("INSTRUMENT", default=False),
        spool=_spool(spool),
        redaction=_redaction(redact),
        data_rules=_data_rules(data_rules),
        explicit=frozenset(name for name, value in chosen.items() if value),
    )


def _env(name: str) -> str | None:
    return os.environ.get(f"SPANLEDGER_{name}", "").strip() or None


def _flag(name: str, *, default: bool) -> bool:
    value = (_env(name) or "").lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    if value:
        LOGGER.warning("SPANLEDGER_%s is neither true nor false; using %s", name, default)
    return default


def _capture(argument: str | None) -> Capture:
    for mode in get_args(Capture):
        if mode == (argument or _env("CAPTURE") or "full"):
            return mode  # type: ignore[no-any-return]
    if argument:
        raise ValueError("capture must be 'full', 'metadata' or 'none'")
    LOGGER.warning("SPANLEDGER_CAPTURE is none of full, metadata and none; capturing no content and no identities")
    return "none"


def _spool(argument: str | bool | None) -> str | None:
    asked = argument if argument is not None else _env("SPOOL")
    if asked is False or (isinstance(asked, str) and asked.lower() in _FALSE):
        return None
    if isinstance(asked, str) and asked.lower() not in _TRUE:
        return asked
    return _default_spool()


def _default_spool() -> str | None:
    """The user's own folder for state, or None where there is none."""
    home = os.path.expanduser("~")  # noqa: PTH111 - answers "~" where Path.home raises
    if sys.platform == "win32":
        state = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        state = f"{home}/Library/Application Support"
    else:
        state = os.environ.get("XDG_STATE_HOME") or f"{home}/.local/state"
    return f"{state}/spanledger/spool" if state and not state.startswith("~") else None


def _redaction(argument: object) -> Redaction:
    text = _env("REDACT")
    if argument is not None or text is None:
        return parse_redact(argument)
    try:
        return parse_redact_text(text)
    except ValueError:
        LOGGER.warning("SPANLEDGER_REDACT is neither true, false nor kinds of secrets; redacting all kinds")
        return Redaction()


def _data_rules(argument: Mapping[str, str] | None) -> DataRules:
    if argument is not None:
        return parse_rules(argument)
    rules, is_readable = parse_rules_text(_env("DATA_RULES") or "")
    if not is_readable:
        LOGGER.warning("SPANLEDGER_DATA_RULES has actions other than deny, strip and mask; that data is denied")
    return rules


def _endpoint(argument: str | None) -> str:
    if argument:
        base = _base_url(argument)
        if base is None:
            raise ValueError("endpoint must be an http:// or https:// URL")
        return base
    for name in ("SPANLEDGER_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if value := os.environ.get(name, "").strip():
            base = _base_url(value)
            if base is not None:
                return base
            LOGGER.warning("%s is not an http:// or https:// URL; using %s", name, DEFAULT_ENDPOINT)
    return DEFAULT_ENDPOINT


def _base_url(url: str) -> str | None:
    """The URL without a trailing `/v1/traces`, or None if it cannot be used."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    if not usable or not url.isascii() or any(character.isspace() for character in url):
        return None
    return url.split("?")[0].rstrip("/").removesuffix("/v1/traces").rstrip("/")


def _header_value(name: str, value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise ValueError(f"{name} must be printable ASCII, since it travels in an HTTP header")
    return value


def _pairs(text: str) -> dict[str, str]:
    """Parse the `a=b,c=d` form of OTel's variables (values are percent-encoded)."""
    pairs = (item.partition("=") for item in text.split(","))
    return {name.strip(): unquote(value.strip()) for name, separator, value in pairs if separator and name.strip()}

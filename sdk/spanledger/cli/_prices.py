"""`spanledger prices`: what usage costs, your own prices, and what to look at in them."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from spanledger.cli._show import AsJson, Project, Url, connect, safe, show_json, show_table, warn

prices = typer.Typer(
    help="Prices: list, show, set, import, export, compare and check.", no_args_is_help=True, add_completion=False
)

_PATH: Final = "/api/v1/prices"
_READ_ONLY: Final = frozenset({"id", "changed_at", "version"})
_NONE: Final = "—"

Model = Annotated[str, typer.Argument(help="A model, or (to set) a pattern such as 'gpt-4o*'; for tools its name.")]
Provider = Annotated[str | None, typer.Option("--provider", "-p", help="Its provider, or a pattern such as 'azure*'.")]
Processing = Annotated[str | None, typer.Option("--processing", help="batch, flex or priority.")]
File = Annotated[Path, typer.Argument(help="A YAML file (or JSON); - is standard input.", allow_dash=True)]
Days = Annotated[int, typer.Option("--days", min=1, max=400, help="Look at the calls of so many days.")]


@prices.command("list")
def list_prices(as_json: AsJson = False, url: Url = None, project: Project = None) -> None:
    """Your own prices, and the lists behind them."""
    with connect(url, project) as client:
        answer = client.call("GET", _PATH)
    if as_json:
        for price in answer["prices"]:
            show_json(price)
        return
    rows = [
        [safe(p["id"]), safe(p["kind"]), safe(p["provider"]), safe(p["model"]), _amounts(p), _dates(p), safe(p.get("note") or "")]
        for p in answer["prices"]
    ]
    if rows:
        show_table(["id", "kind", "provider", "model", "price", "valid", "note"], rows)
    else:
        warn("no prices of your own")
    warn("behind them: " + ", then ".join(safe(source["version"]) for source in answer["sources"]))


@prices.command()
def show(
    model: Model,
    provider: Provider = None,
    processing: Processing = None,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """What a model costs, with its history and where each price is from."""
    parameters = {"model": model, "provider": provider or "", "service_tier": processing or ""}
    with connect(url, project) as client:
        answer = client.call("GET", f"{_PATH}/resolve", parameters=parameters)
    if as_json:
        show_json(answer)
        return
    if answer["reason"]:
        warn(f"{safe(model)} has no price: {safe(answer['explanation'])}")
        raise typer.Exit(1)
    rows = []
    for period in answer["periods"]:
        mark = "now" if period["is_current"] else ""
        when = f"{_day(period['from']) or 'ever'} to {_day(period['until']) or 'now on'}"
        rows.append([mark, when, "", _kinds(period), safe(period["version"] or period["reason"] or "")])
        for window in period["windows"]:
            hours = f"{' '.join(window['days'])} {window['hours_utc']}"
            rows.append(["", "", safe(hours), _kinds(window), safe(window["version"] or window["reason"] or "")])
    show_table(["", "starting", "hours (UTC)", "USD (tokens by the million)", "source"], rows)


@prices.command("set")
def set_price(
    model: Model,
    provider: Provider = None,
    price: Annotated[
        list[str] | None, typer.Option("--price", "-P", help="KIND=USD, such as input=2.05, output=8.20, web_searches=10.")
    ] = None,
    multiplier: Annotated[str | None, typer.Option(help="Of the list's price: 0.82 is 18 % off.")] = None,
    price_as: Annotated[str | None, typer.Option("--as", help="Price it as PROVIDER/MODEL of the list.")] = None,
    per_call: Annotated[str | None, typer.Option(help="USD for each call; the only price of a tool or retrieval.")] = None,
    gpu_hour: Annotated[str | None, typer.Option(help="USD for an hour of one GPU: a self-hosted model.")] = None,
    gpus: Annotated[str | None, typer.Option(help="How many GPUs it runs on.")] = None,
    kind: Annotated[str, typer.Option(help="model, tool or retrieval.")] = "model",
    valid_from: Annotated[str | None, typer.Option("--from", help="First day, such as 2026-07-01 (UTC).")] = None,
    valid_until: Annotated[str | None, typer.Option("--until", help="The day after the last.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, such as the contract.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Set a price; calls settled from now on cost it, older ones after `spanledger reprice`."""
    raw: dict[str, Any] = {"kind": kind, "model": model, "provider": provider, "multiplier": multiplier, "per_call": per_call}
    raw |= {"gpu_hour_usd": gpu_hour, "gpus": gpus, "valid_from": valid_from, "valid_until": valid_until, "note": note}
    if price:
        raw["prices"] = dict(_pair(text) for text in price)
    if price_as:
        host, slash, name = price_as.partition("/")
        raw["price_as"] = {"provider": host, "model": name} if slash else {"model": price_as}
    with connect(url, project) as client:
        made = client.call("POST", _PATH, body={key: value for key, value in raw.items() if value is not None})["prices"][0]
    if as_json:
        show_json(made)
        return
    show_table(
        ["id", "provider", "model", "price", "valid"],
        [[safe(made["id"]), safe(made["provider"]), safe(made["model"]), _amounts(made), _dates(made)]],
    )


@prices.command()
def retire(price_id: Annotated[str, typer.Argument(help="Its id.")], url: Url = None, project: Project = None) -> None:
    """Retire a price; its history stays."""
    with connect(url, project) as client:
        client.call("DELETE", f"{_PATH}/{price_id}")


@prices.command()
def history(
    price_id: Annotated[str | None, typer.Argument(help="Of one price only.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """What was set and retired when."""
    with connect(url, project) as client:
        found = client.call("GET", f"{_PATH}/history", parameters={"price_id": price_id})["versions"]
    if as_json:
        for version in found:
            show_json(version)
        return
    rows = [
        [safe(v["changed_at"]), safe(v["action"]), safe(v["id"]), safe(v["provider"]), safe(v["model"]), _amounts(v), _dates(v)]
        for v in found
    ]
    show_table(["at", "what", "id", "provider", "model", "price", "valid"], rows)


@prices.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output if left out.")] = None,
    url: Url = None,
    project: Project = None,
) -> None:
    """Write your own prices as YAML."""
    with connect(url, project) as client:
        found = [_plain(price) for price in client.call("GET", _PATH)["prices"]]
    text = yaml.safe_dump({"prices": found}, sort_keys=False, allow_unicode=True)
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, "utf-8")
        warn(f"{len(found)} prices written to {file}")


@prices.command("import")
def import_prices(
    file: File,
    replace: Annotated[bool, typer.Option(help="Retire the prices that the file does not have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Set the prices of a YAML file, all or none."""
    wanted = _read(file)
    with connect(url, project) as client:
        held = client.call("GET", _PATH)["prices"]
        changes = _compare(held, wanted)
        todo = [price for price, word in changes if word in ("new", "changed")]
        gone = [price for price, word in changes if word == "not in the file"] if replace else []
        if not dry_run:
            if todo:
                client.call("POST", _PATH, body=todo)
            for price in gone:
                client.call("DELETE", f"{_PATH}/{price['id']}")
    _tell(changes if replace else [change for change in changes if change[1] != "not in the file"], as_json)
    warn(f"{'would set' if dry_run else 'set'} {len(todo)}, {'would retire' if dry_run else 'retired'} {len(gone)}")


@prices.command()
def diff(
    file: Annotated[
        Path | None, typer.Argument(help="Compare with a YAML file, instead of with the list.", allow_dash=True)
    ] = None,
    days: Days = 30,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Where the prices that you pay differ from the price list's last release, or from a file. Exits with 1 if any does."""
    with connect(url, project) as client:
        if file is not None:
            changes = [change for change in _compare(client.call("GET", _PATH)["prices"], _read(file)) if change[1] != "same"]
            _tell(changes, as_json)
            raise typer.Exit(1 if changes else 0)
        answer = client.call("GET", f"{_PATH}/diff", parameters={"days": days})
    found = answer["differences"]
    if as_json:
        for row in found:
            show_json(row)
    elif found:
        rows = [
            [
                safe(r["provider"]),
                safe(r["model"]),
                safe(r["kind"]),
                _amount(r["release"]),
                _amount(r["ours"]),
                safe(r["source"] or ""),
            ]
            for r in found
        ]
        show_table(["provider", "model", "kind", safe(answer["release"]), "here", "source"], rows)
    else:
        warn(f"no price of the models that you called differs from {safe(answer['release'])}")
    raise typer.Exit(1 if found else 0)


@prices.command()
def check(days: Days = 30, as_json: AsJson = False, url: Url = None, project: Project = None) -> None:
    """Models without a price, prices that expire or apply to nothing, and lists that are old. Exits with 1 if there is any."""
    with connect(url, project) as client:
        found = client.call("GET", f"{_PATH}/check", parameters={"days": days})["findings"]
    if as_json:
        for finding in found:
            show_json(finding)
    elif found:
        rows = [[safe(f["code"]), safe(f["subject"]), safe(f["message"]), safe(f["advice"])] for f in found]
        show_table(["what", "of", "why", "what to do"], rows)
    else:
        warn("nothing to look at")
    raise typer.Exit(1 if found else 0)


@prices.command()
def quote(
    model: Model,
    provider: Provider = None,
    usage: Annotated[list[str] | None, typer.Option("--usage", "-u", help="KIND=COUNT, such as input_tokens=1200.")] = None,
    at: Annotated[str | None, typer.Option(help="When, such as 2026-08-10T12:00:00Z.")] = None,
    processing: Processing = None,
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """What some usage costs, line by line. Exits with 1 if that is not known."""
    counts = {name: _count(name, text) for name, text in (_pair(item) for item in usage or ())}
    body = {"provider": provider, "model": model, "timestamp": at, "usage": counts, "context": {"service_tier": processing}}
    with connect(url, project) as client:
        answer = client.call("POST", f"{_PATH}/quote", body=body)
    if as_json:
        show_json(answer)
    elif answer["cost_usd"] is None:
        warn(f"unpriced: {safe(answer['reason'])}")
    else:
        rows = []
        for kind, line in answer["breakdown"].items():
            unit, price = next((key, value) for key, value in line.items() if key.startswith("usd_per_"))
            rows.append(
                [
                    safe(kind),
                    safe(line["quantity"]),
                    f"{safe(price)} per {safe(unit.removeprefix('usd_per_'))}",
                    f"${safe(line['usd'])}",
                ]
            )
        rows.append(["total", "", safe(answer["version"]), f"${safe(answer['cost_usd'])}"])
        show_table(["kind", "quantity", "price", "USD"], rows, [False, True, False, True])
    raise typer.Exit(1 if answer["cost_usd"] is None else 0)


def _read(file: Path) -> list[dict[str, Any]]:
    """The prices of a file; every scalar stays the text that was written, so that no amount loses digits."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    try:
        # BaseLoader builds texts, lists and mappings and nothing else.
        raw = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{file} is no YAML: {error}") from None
    found = raw.get("prices") if isinstance(raw, dict) else raw
    if not isinstance(found, list) or not all(isinstance(price, dict) for price in found):
        raise typer.BadParameter(f"{file} has no list of prices")
    return [_plain(price) for price in found]


def _compare(held: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    by_match = {_match(price): price for price in held}
    changes = []
    for price in wanted:
        known = by_match.pop(_match(price), None)
        word = "new" if known is None else "same" if _normal(known) == _normal(price) else "changed"
        changes.append((price, word))
    return changes + [(price, "not in the file") for price in by_match.values()]


def _match(price: dict[str, Any]) -> tuple[str, ...]:
    keys = (price.get("kind") or "model", price.get("provider") or "*", price.get("model") or "")
    return (*(str(key).strip().lower() for key in keys), _day(price.get("valid_from")))


def _normal(price: dict[str, Any]) -> dict[str, Any]:
    filled = _texts({"kind": "model", "provider": "*", **_plain(price)})
    dates = {name: _day(filled[name]) for name in ("valid_from", "valid_until") if name in filled}
    return {**filled, **dates, "provider": str(filled["provider"]).lower(), "model": str(filled.get("model")).lower()}


def _texts(value: Any) -> Any:
    """The value with every scalar as text, as a file has them."""
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    return [_texts(item) for item in value] if isinstance(value, list) else str(value)


def _plain(price: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in price.items() if key not in _READ_ONLY and value not in (None, "")}


def _tell(changes: list[tuple[dict[str, Any], str]], as_json: bool) -> None:
    if as_json:
        for price, word in changes:
            show_json({"change": word, **price})
        return
    rows = [[word, safe(p.get("provider") or "*"), safe(p.get("model") or ""), _amounts(p), _dates(p)] for p, word in changes]
    if rows:
        show_table(["change", "provider", "model", "price", "valid"], rows)


def _amounts(price: dict[str, Any]) -> str:
    parts = []
    if (factor := price.get("multiplier")) is not None:
        parts.append(f"x {safe(factor)}")
    if listed := price.get("price_as"):
        parts.append(f"as {safe(listed.get('provider') or '')}/{safe(listed.get('model'))}")
    parts += [f"{safe(kind)} {_amount(value)}" for kind, value in (price.get("prices") or {}).items()]
    if (call := price.get("per_call")) is not None:
        parts.append(f"{safe(call)} per call")
    if (hour := price.get("gpu_hour_usd")) is not None:
        parts.append(f"{safe(hour)} per GPU hour x {safe(price.get('gpus') or 1)}")
    return ", ".join(parts)


def _kinds(card: dict[str, Any]) -> str:
    return ", ".join(f"{safe(kind)} {_amount(value)}" for kind, value in (card["prices"] or {}).items()) or _NONE


def _amount(value: Any) -> str:
    if isinstance(value, dict):
        steps = [f"{safe(step.get('price'))} above {safe(step.get('above_input_tokens'))}" for step in value.get("above") or ()]
        return f"{safe(value.get('price'))} ({'; '.join(steps)})"
    return _NONE if value is None else safe(value)


def _dates(price: dict[str, Any]) -> str:
    since, until = _day(price.get("valid_from")), _day(price.get("valid_until"))
    return f"{since or '…'} to {until or '…'}" if since or until else "always"


def _day(text: Any) -> str:
    return safe(text or "").removesuffix("T00:00:00Z")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()


def _count(name: str, text: str) -> int:
    if not text.isdecimal():
        raise typer.BadParameter(f"{name}={text}: a count is a whole number")
    return int(text)

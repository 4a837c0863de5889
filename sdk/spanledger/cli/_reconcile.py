"""`spanledger reconcile`."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from spanledger.cli._show import CONSOLE, AsJson, Filters, Project, Url, connect, parse_filters, safe, show_json, show_table, warn

_NONE: Final = "—"
_ROWS_SHOWN: Final = 60
_PARTS_SHOWN: Final = 3
Pairs = list[str] | None


def reconcile(
    files: Annotated[
        list[Path],
        typer.Argument(help="Exports of one bill: usage, costs, or both.", exists=True, dir_okay=False, metavar="FILE…"),
    ],
    provider: Annotated[
        str | None, typer.Option("--provider", "-p", help="Whose bill it is, where the file does not say.")
    ] = None,
    columns: Annotated[
        Pairs, typer.Option("--column", "-c", help="WHAT=COLUMN of any other table, such as day=Date, model=SKU, cost=Amount.")
    ] = None,
    only: Annotated[
        Pairs, typer.Option("--only", help="COLUMN=VALUE: only such rows of the file, such as workspace=prod.")
    ] = None,
    rates: Annotated[Pairs, typer.Option("--rate", help="What one of another currency is in USD, such as EUR=1.08.")] = None,
    timezone: Annotated[str, typer.Option(help="In which the bill's days begin.")] = "UTC",
    since: Annotated[str | None, typer.Option(help="First day, such as 2026-11-01.")] = None,
    until: Annotated[str | None, typer.Option(help="The day after the last.")] = None,
    filters: Filters = None,
    format: Annotated[
        str | None, typer.Option("--format", help="The file's format, where it is not seen from its columns.")
    ] = None,
    by: Annotated[str, typer.Option(help="What to show: model, day, or row (both).")] = "model",
    tolerance: Annotated[str, typer.Option(help="Exit with 1 if more USD than this are unexplained.")] = "0.01",
    as_json: AsJson = False,
    url: Url = None,
    project: Project = None,
) -> None:
    """Compare a provider's bill with the ledger, and say why they differ. Exits with 1 if too much is unexplained."""
    limit = _amount(tolerance)
    if by not in ("model", "day", "row"):
        raise typer.BadParameter("--by is model, day or row")
    options: dict[str, Any] = {"provider": provider, "format": format, "timezone": timezone}
    options |= {"start": since, "end": until, "filters": parse_filters(filters)}
    options |= {"columns": _pairs(columns), "only": _pairs(only), "rates": _pairs(rates)}
    with connect(url, project) as client:
        found = client.reconcile(*files, **{name: value for name, value in options.items() if value})
    if as_json:
        show_json(found)
    else:
        _tell(found, by)
    left = sum((abs(Decimal(row["parts"].get("unexplained", "0"))) for row in found["models"]), Decimal(0))
    raise typer.Exit(1 if left > limit else 0)


def _tell(found: dict[str, Any], by: str) -> None:
    for warning in found["warnings"]:
        warn(safe(warning, 400))
    word = "bill" if found["money"] == "billed" else "billed tokens, at the price here"
    head = f"{safe(found['start'])} to {safe(found['end'])} ({safe(found['timezone'])}, the end is outside)"
    CONSOLE.print(f"{head}: {word} {_usd(found['bill_usd'])}, here {_usd(found['ours_usd'])}, {_signed(found['difference_usd'])}")
    if (share := found["found_share"]) is not None:
        CONSOLE.print(f"{share * 100:.2f} % of the billed tokens are recorded here")
    if found["reasons"]:
        rows = [
            [safe(r["reason"].replace("_", " ")), _signed(r["usd"]), _tokens(r["tokens"]), safe(r["meaning"]), safe(r["advice"])]
            for r in found["reasons"]
        ]
        rows.append(["difference", _signed(found["difference_usd"]), "", "", ""])
        show_table(["why", "USD", "tokens", "what it is", "what to do"], rows, [False, True, True, False, False])
    else:
        CONSOLE.print("They agree.")
    CONSOLE.print()
    _table(found, by)
    if found["overrides"]:
        CONSOLE.print("\nPrices that the bill implies:")
        for override in found["overrides"]:
            CONSOLE.print(f"  {_command(override['command'])}   # {_signed(override['effect_usd'])}")
        CONSOLE.print("  spanledger reprice --since …   # then, for history")
    if calls := found["left_out"]["calls"]:
        providers = ", ".join(safe(name, 40) for name in found["left_out"]["providers"]) or "no provider"
        warn(f"not on this bill: {calls} calls of {providers}, {_usd(found['left_out']['cost_usd'])}")


def _table(found: dict[str, Any], by: str) -> None:
    rows = found[{"model": "models", "day": "days", "row": "rows"}[by]]
    head = {"model": ["model"], "day": ["day"], "row": ["day", "model"]}[by]
    shown = [
        [
            *(_name(row, column) for column in head),
            _usd(row["bill_usd"]),
            _usd(row["ours_usd"]),
            _signed(row["difference_usd"]),
            _tokens(_sum(row["bill_tokens"])),
            _tokens(_sum(row["our_tokens"])),
            _why(row["parts"]),
        ]
        for row in rows[:_ROWS_SHOWN]
    ]
    names = [*head, "bill", "here", "difference", "billed tokens", "tokens here", "why"]
    show_table(names, shown, [False] * len(head) + [True] * 5 + [False])
    if len(rows) > _ROWS_SHOWN:
        warn(f"{len(rows) - _ROWS_SHOWN} more rows; --json has all")


def _name(row: dict[str, Any], column: str) -> str:
    if column == "day":
        return safe(row["day"])
    return safe(row["model"] or "(no model)", 60)


def _why(parts: dict[str, str]) -> str:
    largest = sorted(parts.items(), key=lambda part: -abs(Decimal(part[1])))
    shown = [f"{safe(reason.replace('_', ' '))} {_signed(money)}" for reason, money in largest[:_PARTS_SHOWN]]
    return ", ".join(shown) + (", …" if len(largest) > _PARTS_SHOWN else "")


def _sum(tokens: dict[str, int] | None) -> int | None:
    return None if tokens is None else sum(tokens.values())


def _tokens(number: int | None) -> str:
    return _NONE if number is None else f"{number:,}"


def _usd(text: str) -> str:
    value = Decimal(text)
    return f"-${-value:,f}" if value < 0 else f"${value:,f}"


def _signed(text: str) -> str:
    return _usd(text) if text.startswith("-") or Decimal(text) == 0 else f"+{_usd(text)}"


def _command(text: str) -> str:
    # It is quoted for a shell already; whole, so that it can be copied.
    return safe(text, 2_000)


def _pairs(texts: Pairs) -> dict[str, str]:
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def _amount(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0:
        raise typer.BadParameter(f"--tolerance {text}: it is an amount in USD")
    return value

"""`oai-extproc usage`: calls, tokens and costs, from the ledger.

Decision: docs/decisions.md, D250.
"""

import csv
import datetime
import glob
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import indent

import click
from rich.table import Table
from rich.text import Text

from extproc.cli.ledger import COLUMNS, Group, Report, Sum, TooLargeError, Wanted
from extproc.cli.parameters import UserError, load_settings, required_config
from extproc.cli.tables import console
from extproc.config.faults import printable

_AGO = re.compile(r"([0-9]{1,4})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}

MAX_ROWS = 1000
"""Largest number of rows of the table; CSV and JSON have all."""


class _Time(click.ParamType[str]):
    """`30d` ago, `2026-11-01` or `2026-11-01T12:00:00Z`, as a ledger writes it."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Convert to a time in UTC; a failure is a usage error."""
        text = str(value)
        try:
            if ago := _AGO.fullmatch(text):
                now = datetime.datetime.now(datetime.UTC)
                moment = now - datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            else:
                moment = datetime.datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not a time: write 30d, 12h, 2026-11-01 or 2026-11-01T12:00:00Z", param, ctx)
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@click.command()
@required_config
@click.option("--organisation", default="", help="Count only the calls of this organisation.")
@click.option("--since", type=_Time(), help="Count calls from then on: 30d, 12h or 30m ago, or a date (UTC).")
@click.option("--until", type=_Time(), help="Count calls before then.")
@click.option("--by", type=click.Choice(tuple(COLUMNS)), default="model", show_default=True, help="A row for each.")
@click.option(
    "--format", "form", type=click.Choice(("table", "csv", "json")), default="table", show_default=True, help="Output."
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
def usage(
    path: Path, organisation: str, since: str | None, until: str | None, by: str, form: str, files: tuple[Path, ...]
) -> None:
    """Show calls, tokens and costs, from the ledger that gateway.yaml names (`usage.ledger`).

    FILES are more of it, such as those that a rotation has renamed; they may end in .gz. A call counts once,
    however often its line is given.
    """
    ledger = load_settings(path).usage.ledger
    if ledger is None:
        raise UserError(f"{path}: there is no ledger; name a file in `usage.ledger`, and start the gateway again")
    if since and until and since >= until:
        raise UserError(f"--since {since} is not before --until {until}")
    with _room_for_sums(), closing(Report(Wanted(by, organisation, since or "", until or ""))) as report:
        _read(report, [*files, Path(ledger)])
        _print(form, COLUMNS[by], report.rows())
    for warning in [*report.warnings, *_unread(Path(ledger), files)]:
        click.echo(f"warning: {printable(warning)}", err=True)
    if report.repeated:
        click.echo(f"{report.repeated} lines were of calls that had one already, and count once", err=True)


_Rows = Iterator[tuple[Group, Sum]]


@contextmanager
def _room_for_sums() -> Iterator[None]:
    """Raise `UserError` where there is no room for the database, or for a number in it."""
    import sqlite3

    try:
        yield
    except TooLargeError as error:
        raise UserError(
            "a sum of tokens or costs is larger than 9,223,372,036,854,775,807: no gateway wrote such lines; name "
            "other files, or have --since and --until leave these out"
        ) from error
    except sqlite3.Error as error:
        raise UserError(f"no room for the ids of calls in the folder of temporary files (TMPDIR): {error}") from error


def _read(report: Report, paths: list[Path]) -> None:
    """Sum up these ledgers; raises `UserError` for a file that cannot be read."""
    import zlib

    for path in paths:
        try:
            report.read([path])
        except OSError as error:
            raise UserError(printable(f"{path}: {error.strerror or error}")) from error
        except (EOFError, zlib.error) as error:
            raise UserError(printable(f"{path}: is broken: {error}; unpack what is left of it")) from error


def _unread(ledger: Path, files: Iterable[Path]) -> list[str]:
    """Return a warning if files of earlier rotations are beside the ledger that were not named."""
    named = {path.resolve() for path in files}
    beside = ledger.parent.glob(f"{glob.escape(ledger.name)}[.-]*")
    count = sum(path.resolve() not in named for path in beside)
    return [f"not read: {count} of the files {ledger}.*; name them as well, to count their calls"] if count else []


def _print(form: str, columns: tuple[str, ...], rows: _Rows) -> None:
    """Print the rows one by one: tokens of an identity provider are as many as it has people."""
    if form == "json":
        _print_json(columns, rows)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*columns, *asdict(Sum()), "cost_usd"])
        writer.writerows([*group, *asdict(each).values(), _dollars(each)] for group, each in rows)
    else:
        console().print(_table(columns, rows))


def _print_json(columns: tuple[str, ...], rows: _Rows) -> None:
    """Print what `json.dumps` makes of all rows and their total, with an indent of two."""
    total, before = Sum(), ""
    sys.stdout.write('{\n  "rows": [')
    for group, each in rows:
        row = json.dumps({**dict(zip(columns, group, strict=True)), **asdict(each)}, indent=2)
        sys.stdout.write(f"{before}\n{indent(row, '    ')}")
        before = ","
        _count(total, each)
    end = "\n  " if before else ""
    sys.stdout.write(f'{end}],\n  "total": {indent(json.dumps(asdict(total), indent=2), "  ").lstrip()}\n}}\n')


def _table(columns: tuple[str, ...], rows: _Rows) -> Table:
    table = Table(*columns, box=None)
    for name in ("calls", "failed", "input", "cached", "output", "USD", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    total, number = Sum(), 0
    for number, (group, each) in enumerate(rows, 1):
        _count(total, each)
        if number <= MAX_ROWS:
            table.add_row(*(Text(printable(name) or "(none)") for name in group), *_cells(each))
    if number > MAX_ROWS:
        table.add_row(f"… and {number - MAX_ROWS} more, see --format csv")
    table.add_row(*("total", *[""] * (len(columns) - 1)), *_cells(total))
    return table


def _cells(each: Sum) -> list[str]:
    numbers = (each.calls, each.failed_calls, each.input_tokens, each.cached_tokens, each.output_tokens)
    notes = [
        *([f"{each.estimated_calls} estimated"] if each.estimated_calls else []),
        *([f"{each.unpriced_calls} without a price"] if each.unpriced_calls else []),
    ]
    return [*(f"{number:,}" for number in numbers), _dollars(each), ", ".join(notes)]


def _dollars(each: Sum) -> str:
    whole, rest = divmod(each.cost_micro_usd, 1_000_000)
    return f"{whole}.{rest:06}"


def _count(total: Sum, each: Sum) -> None:
    """Add to the total."""
    for name, value in asdict(each).items():
        setattr(total, name, getattr(total, name) + value)

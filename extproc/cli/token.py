"""`oai-extproc token`: new API keys, and the hashes of existing ones."""

import contextlib
import datetime
import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from extproc import config
from extproc.cli.parameters import UserError, user_errors
from extproc.config import kinds
from extproc.config.append import entry_lines, with_token
from extproc.config.faults import fault
from extproc.config.sources import contents, token_texts
from extproc.tenancy.api_keys import PREFIX, digest, new_token

LOCK_SECONDS = 10.0
"""Longest wait for other commands that add a token in the same folder; each takes milliseconds."""

_DAYS = re.compile(r"^(\d{1,4})d$")


class _Moment(click.ParamType[datetime.datetime]):
    """`2027-01-01`, `2027-01-01T12:00:00Z`, or `90d` from now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """Convert to a time in UTC; a failure is a usage error."""
        if isinstance(value, datetime.datetime):
            return value
        days = _DAYS.match(str(value))
        if days:
            now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
            return now + datetime.timedelta(days=int(days[1]))
        try:
            moment = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2027-01-01, 2027-01-01T12:00:00Z, or 90d", param, ctx)
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)


@click.group()
def token() -> None:
    """Make API keys for gateway.yaml.

    A token is shown once, for its caller; gateway.yaml contains only its SHA-256.
    """


@token.command()
@click.option("--name", required=True, help="The token's name in logs, as in: ci.")
@click.option(
    "--organisation",
    "organisations",
    multiple=True,
    required=True,
    help="The token's organisation; repeat it for several.",
)
@click.option("--expires", type=_Moment(), help="2027-01-01, 2027-01-01T12:00:00Z, or 90d from now.")
@click.option(
    "--append",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the entry to this gateway.yaml, whose comments stay; standard output has the token only.",
)
def new(name: str, organisations: tuple[str, ...], expires: datetime.datetime | None, path: Path | None) -> None:
    """Make a token, show it once, and show the lines for gateway.yaml or add them."""
    fresh, entry = fresh_entry(name, organisations, expires)
    if expires is not None and expires <= datetime.datetime.now(datetime.UTC):
        click.echo(
            f"warning: --expires {expires:%Y-%m-%d %H:%M} UTC is past: every call with this token gets a 401", err=True
        )
    if path is not None:
        _append(path, entry)
        click.echo(f"Added the token {name!r} to {path}; running gateways reload it. It is shown this once:", err=True)
        click.echo(fresh)
        return
    click.echo(f"The token, shown this once:\n\n  {fresh}\n")
    click.echo("Add this to `tokens` in gateway.yaml (running gateways reload it):\n")
    click.echo(entry_lines(entry))


def fresh_entry(
    name: str, organisations: tuple[str, ...], expires: datetime.datetime | None = None
) -> tuple[str, dict[str, object]]:
    """Return a new token, and its entry for gateway.yaml; raises `UserError` for names that it does not accept."""
    faults = [fault(name, kinds.TokenName, "--name")]
    faults += [fault(organisation, kinds.MachineName, "--organisation") for organisation in organisations]
    if message := next(filter(None, faults), None):
        raise UserError(message)
    fresh = new_token()
    entry: dict[str, object] = {"name": name, "sha256": digest(fresh), "organisations": list(organisations)}
    return fresh, entry if expires is None else {**entry, "expires": expires}


def _append(path: Path, entry: dict[str, object]) -> None:
    """Add the entry to the gateway.yaml at `path`, if the result is valid; raises `UserError`."""
    with user_errors(config.ConfigError, OSError), _alone(path.resolve().parent):
        text = contents(path)
        try:
            added = with_token(text.decode(), entry).encode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-8; save it as UTF-8") from error
        except config.ConfigError as error:
            raise UserError(f"{path}: {error}") from error
        drafted = config.draft(added, str(path))
        drafted.settings(token_texts(drafted.tokens_from) if drafted.tokens_from else {})
        _replace(path.resolve(), added)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other such commands from reading a file of this folder until it is written; raises `UserError`."""
    if not folder.is_dir():  # whoever reads the file reports that
        yield
        return
    handle, deadline = os.open(folder, os.O_RDONLY), time.monotonic() + LOCK_SECONDS
    try:
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise UserError(f"{folder}: another command holds a lock of it; try again once that has ended")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all: a running gateway may read it at any time."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        shutil.copymode(path, draft)
        _give(draft, path.stat())
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def _give(draft: str, owner: os.stat_result) -> None:
    """Give the file the owner of the one that it replaces: root's own could not be read by a running gateway."""
    if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.chown(draft, owner.st_uid, owner.st_gid)


@token.command("hash")
def hash_() -> None:
    """Read a token from standard input and print its SHA-256, for `tokens[].sha256`."""
    interactive = sys.stdin.isatty()
    text: str = click.prompt("Token", hide_input=True, err=True) if interactive else sys.stdin.read()
    text = text.strip()
    if not text.startswith(PREFIX) or len(text.split()) != 1:
        raise UserError(f"this is not a token: send one line that starts with {PREFIX}")
    click.echo(digest(text))

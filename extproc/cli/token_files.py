"""gateway.yaml and its token files, as the commands of `token` read and change them.

Invariant: a file is replaced whole or not at all, keeps its mode and its owner, and only if it still has the content
that was read and the new configuration is valid.

Decision: docs/decisions.md, D190.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from extproc import config
from extproc.cli.parameters import UserError, user_errors
from extproc.config.document import read
from extproc.config.faults import nearest
from extproc.config.sources import contents, token_texts
from extproc.config.token_entries import token_list, with_successor, with_token, without_token
from extproc.worker.last_used import LastUsedError
from extproc.worker.last_used_file import read_last_used

LOCK_SECONDS = 60.0
"""Longest wait for other commands that change tokens in the same folder: milliseconds each, or 16 s with 100,000."""

CHOOSE_ANOTHER = (
    "choose another --name, by which logs tell the tokens apart, or replace that key with `oai-extproc token rotate`"
)


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """The files of a configuration as they were read, and its settings."""

    path: Path
    texts: Mapping[str, bytes]
    """The content of gateway.yaml and of each token file, by name; gateway.yaml is the first."""
    settings: config.Settings
    notice: str = "running gateways reload it"

    @classmethod
    def load(cls, path: Path) -> "TokenFiles":
        """Read all files; raises `UserError` for a configuration that is not valid."""
        with user_errors(config.ConfigError):
            text = contents(path)
            draft = config.draft(text, str(path))
            more = token_texts(draft.tokens_from) if draft.tokens_from else {}
            return cls(path, {str(path): text, **more}, draft.settings(more))

    def last_used(self) -> Mapping[str, str] | None:
        """Return the last uses in the file of `last_used_in`; one that cannot be read is a warning."""
        if self.settings.last_used_in is None:
            return None
        try:
            return read_last_used(Path(self.settings.last_used_in))
        except LastUsedError as error:
            click.echo(f"warning: {self.settings.last_used_in}: {error}", err=True)
            return {}

    def token(self, name: str) -> config.Token:
        """Return the token of this name; raises `UserError`."""
        for token in self.settings.tokens:
            if token.name == name:
                return token
        raise no_token(name, self.settings.tokens, str(self.path))

    def add(self, entry: Mapping[str, object]) -> str:
        """Add an entry to the file for new tokens, and return the file."""
        if any(token.name == entry["name"] for token in self.settings.tokens):
            source, index, _ = self.entry(str(entry["name"]))
            raise UserError(f"{source}: tokens[{index}] has the name {entry['name']!r} already; {CHOOSE_ANOTHER}")
        self.change(self.for_new_tokens, lambda text: with_token(text, entry))
        return self.for_new_tokens

    def remove(self, name: str) -> str:
        """Remove the entry of the token `name`, and return its file."""
        self.token(name)
        source, index, _ = self.entry(name)
        self.change(source, lambda text: without_token(text, index))
        return source

    def succeed(self, name: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
        """Change the entry of the token `name`, and add its successor's to the same file, which is returned."""
        source, index, before = self.entry(name)
        entry = {key: value for key, value in {**before, **new}.items() if value is not None}
        self.change(source, lambda text: with_successor(text, index, old, entry))
        return source

    def entry(self, name: str) -> tuple[str, int, Mapping[str, object]]:
        """Return the file with the entry of an existing token, the entry's position there, and the entry."""
        for source, text in self.texts.items():
            for index, entry in enumerate(token_list(read(text))):
                if isinstance(entry, dict) and entry["name"] == name:
                    return source, index, entry
        raise AssertionError(name)

    @property
    def for_new_tokens(self) -> str:
        """Return the file that a new token belongs in: the only token file, unless gateway.yaml has `tokens`."""
        own, *others = self.texts
        return others[0] if len(others) == 1 and "tokens" not in read(self.texts[own]) else own

    def change(self, source: str, change: Callable[[str], str]) -> None:
        """Replace a file with what `change` makes of its text; raises `UserError`."""
        before = self.texts[source]
        with user_errors(config.ConfigError):
            try:
                text = change(before.decode())
            except UnicodeDecodeError as error:
                raise UserError(f"{source}: is not UTF-8; save it as UTF-8") from error
            except config.ConfigError as error:
                raise UserError(f"{source}: {error}") from error
            own, *others = {**self.texts, source: text.encode()}.items()
            config.draft(own[1], own[0]).settings(dict(others))
        try:
            _replace(Path(source).resolve(), before, text.encode())
        except OSError as error:
            raise UserError(f"{source}: is left as it is: {error.strerror or error}") from error


def no_token(name: str, tokens: Iterable[config.Token], place: str) -> UserError:
    """Return the error for a name that none of the tokens has."""
    known = nearest(name, (token.name for token in tokens))
    return UserError(f"{place}: no token {name!r}{known}; `oai-extproc token list` shows them")


def _replace(path: Path, before: bytes, after: bytes) -> None:
    """Put `after` in the place of `before`; raises `OSError`, and `UserError` if the file has another content by now.

    A running gateway may read the file at any time, and the machine may stop.
    """
    with _draft(path, after) as draft:
        if path.read_bytes() != before:
            raise UserError(f"{path}: has changed meanwhile, and is left as it is; run the command again")
        draft.replace(path)
    with contextlib.suppress(OSError):  # the file has been replaced; its folder may not be one that can be read
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
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


@contextlib.contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file beside `path`, with its mode and its owner; it is removed unless it takes the place of `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            now, own = path.stat(), os.fstat(file.fileno())
            if (now.st_uid, now.st_gid) != (own.st_uid, own.st_gid):
                os.fchown(file.fileno(), now.st_uid, now.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(now.st_mode) & 0o777)  # by its handle: a name may be a link by now
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)

"""The files that the gateway writes, before Envoy and the workers open them.

`up` does not start without those of `usage`, since Envoy does not. Of the others it warns: calls that need none of them
are served, and the workers try again.

Decision: docs/decisions.md, D249.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from extproc.cli.parameters import UserError
from extproc.config import Settings
from extproc.config.faults import printable
from extproc.config.usage import UsageSettings

_MODE: Final = 0o600
"""It has organisations' names and what they spend."""

_SQLITE: Final = b"SQLite format 3\0"
"""The beginning of each file of SQLite that is not empty."""

_Files = tuple[tuple[str, str | None, Callable[[Path], str]], ...]
"""The key of a file, its path, and what finds out why it cannot be written."""


def troubles(settings: Settings) -> list[str]:
    """Return why this user cannot write to the files that the settings name; nothing is made."""
    return [*_of_usage(settings.usage), *warnings(settings)]


def warnings(settings: Settings) -> list[str]:
    """Return the same of the files without which the gateway starts."""
    return _reasons(
        (
            ("budgets.sqlite", settings.budgets.sqlite, _of_database),
            ("rate_limits.sqlite", settings.rate_limits.sqlite, _of_database),
            ("last_used_in", settings.last_used_in, _of_replaced),
        )
    )


def prepare(usage: UsageSettings) -> None:
    """Make the ledger, for this user alone, if there is none; raises `UserError` if a file cannot be written to."""
    if reasons := _of_usage(usage):
        raise UserError("\n".join(reasons))
    if usage.ledger is None:
        return
    path = Path(usage.ledger)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise UserError(_message("usage.ledger", path, str(error.strerror))) from error
    os.close(handle)


def _of_usage(usage: UsageSettings) -> list[str]:
    return _reasons((("usage.ledger", usage.ledger, _of_file), ("usage.sqlite", usage.sqlite, _of_database)))


def _reasons(files: _Files) -> list[str]:
    return [_message(key, Path(path), reason) for key, path, of in files if path and (reason := of(Path(path)))]


def _of_file(path: Path) -> str:
    if not os.path.isdir(path.parent):
        return f"there is no folder {path.parent}; make it"
    if os.path.exists(path):
        if not os.path.isfile(path):
            return "it is not a regular file; name another"
        return "" if os.access(path, os.W_OK) else "this user may not write to it"
    return _of_folder(path)


def _of_folder(path: Path) -> str:
    may_write = os.access(path.parent, os.W_OK | os.X_OK)
    return "" if may_write else f"this user may make no file in {path.parent}"


def _of_replaced(path: Path) -> str:
    """Return why a file cannot be written that is replaced by a new one each time."""
    return _of_file(path) or _of_folder(path)


def _of_database(path: Path) -> str:
    """Return why a file of SQLite cannot be written, which has others beside it."""
    if os.path.islink(path):
        return "it is a link, which is not followed; name the file itself"
    if reason := _of_replaced(path):
        return reason
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{error.strerror}; have this user read it"
    return "" if begin in (b"", _SQLITE) else "it is no database of SQLite; name another"


def _message(key: str, path: Path, reason: str) -> str:
    return printable(f"{key}: {path} cannot be written: {reason}")

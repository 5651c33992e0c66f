"""The file of `usage.ledger`, before Envoy opens it.

Decision: docs/decisions.md, D249.
"""

import os
from pathlib import Path

from extproc.cli.parameters import UserError
from extproc.config.faults import printable

_MODE = 0o600
"""It has organisations' names and what they spend."""


def trouble(path: Path) -> str:
    """Return why this user cannot write to the ledger; empty if nothing is in the way. Nothing is made."""
    folder = path.parent
    if not folder.is_dir():
        return _said(path, f"there is no folder {folder}; make it")
    if path.exists():
        if not path.is_file():
            return _said(path, "it is not a regular file; name another")
        return "" if os.access(path, os.W_OK) else _said(path, "this user may not write to it")
    return "" if os.access(folder, os.W_OK | os.X_OK) else _said(path, f"this user may make no file in {folder}")


def prepare(path: Path) -> None:
    """Make the ledger, for this user alone, if there is none; raises `UserError` if it cannot be written to."""
    if reason := trouble(path):
        raise UserError(reason)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise UserError(_said(path, str(error.strerror))) from error
    os.close(handle)


def _said(path: Path, reason: str) -> str:
    return printable(f"usage.ledger: {path} cannot be written: {reason}")

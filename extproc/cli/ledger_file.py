"""The files of `usage`, before Envoy and the workers open them.

Decision: docs/decisions.md, D249.
"""

import os
from pathlib import Path

from extproc.cli.parameters import UserError
from extproc.config.faults import printable
from extproc.config.usage import UsageSettings

_MODE = 0o600
"""It has organisations' names and what they spend."""


def troubles(usage: UsageSettings) -> list[str]:
    """Return why this user cannot write to the files of `usage`; nothing is made."""
    files = (("ledger", usage.ledger), ("sqlite", usage.sqlite))
    return [reason for key, path in files if path and (reason := _trouble(f"usage.{key}", Path(path)))]


def _trouble(key: str, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return _said(key, path, f"there is no folder {folder}; make it")
    if path.exists():
        if not path.is_file():
            return _said(key, path, "it is not a regular file; name another")
        return "" if os.access(path, os.W_OK) else _said(key, path, "this user may not write to it")
    return "" if os.access(folder, os.W_OK | os.X_OK) else _said(key, path, f"this user may make no file in {folder}")


def prepare(usage: UsageSettings) -> None:
    """Make the ledger, for this user alone, if there is none; raises `UserError` if a file cannot be written to."""
    if reasons := troubles(usage):
        raise UserError("\n".join(reasons))
    if usage.ledger is None:
        return
    path = Path(usage.ledger)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise UserError(_said("usage.ledger", path, str(error.strerror))) from error
    os.close(handle)


def _said(key: str, path: Path, reason: str) -> str:
    return printable(f"{key}: {path} cannot be written: {reason}")

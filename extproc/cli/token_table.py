"""The list of tokens: what `token list` shows of each, and nothing of its secret."""

import datetime
from collections.abc import Mapping, Sequence

import msgspec
from rich.table import Table
from rich.text import Text

from extproc.config import Settings, Token
from extproc.config.faults import printable

MAX_ROWS = 1000
"""Largest number of tokens that the table lists; the JSON array has all."""

_HASH_DIGITS = 8
"""First digits of a SHA-256 that are shown, to tell entries apart."""


def row(
    token: Token, settings: Settings, now: datetime.datetime, last_used: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Return what the list shows of a token, as JSON has it."""
    return {
        "name": token.name,
        "organisations": list(token.organisations),
        "models": msgspec.to_builtins(token.models),
        "scopes": msgspec.to_builtins(token.scopes),
        "features": msgspec.to_builtins(token.features),
        "expires": token.expires.isoformat() if token.expires else None,
        "last_used": last_used.get(token.sha256) if last_used else None,
        "state": _state(token, settings, now),
        "sha256_prefix": token.sha256[:_HASH_DIGITS],
    }


def table(rows: Sequence[Mapping[str, object]], *, with_use: bool = False) -> Table:
    """Return the rows as a table; `with_use` is whether it has the last use."""
    use = ("last used",) if with_use else ()
    shown = Table(
        "token", "organisations", "models", "scopes", "features", "expires", *use, "state", "sha256", box=None
    )
    for each in rows[:MAX_ROWS]:
        shown.add_row(*(Text(printable(cell)) for cell in _cells(each, with_use)))
    if len(rows) > MAX_ROWS:
        shown.add_row(f"… and {len(rows) - MAX_ROWS} more; --json lists all")
    return shown


def _cells(row: Mapping[str, object], with_use: bool) -> list[str]:
    use = [str(row["last_used"] or "not yet")] if with_use else []
    return [
        str(row["name"]),
        _words(row["organisations"]),
        _models(row["models"]),
        _permitted(row["scopes"]),
        _permitted(row["features"]),
        str(row["expires"] or "never"),
        *use,
        str(row["state"]),
        f"{row['sha256_prefix']}…",
    ]


def _models(models: object) -> str:
    if not isinstance(models, dict):
        return "all"
    allowed = _words(models["allow"]) or "none"
    return f"{allowed}; not {_words(models['deny'])}" if models["deny"] else allowed


def _permitted(names: object) -> str:
    return "all" if names is None else _words(names) or "none"


def _words(words: object) -> str:
    return ", ".join(words) if isinstance(words, list | tuple) else ""


def _state(token: Token, settings: Settings, now: datetime.datetime) -> str:
    """Return why no call with the token is accepted, or `active`."""
    if token.expires is not None and token.expires <= now:
        return "expired"
    if not token.organisations:
        return "no organisation"
    organisations = [settings.organisations.get(name) for name in token.organisations]
    if any(each is not None and each.enabled for each in organisations):
        return "active"
    return "organisation disabled" if any(organisations) else "organisation missing"

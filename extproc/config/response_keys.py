"""The check of `responses.keys`: where there are none, a key is derived from the hashes of the file's tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from extproc.config.document import ConfigError

if TYPE_CHECKING:
    from extproc.config import Settings, Token


def check_keys(settings: "Settings", keys: Sequence[str], tokens: Sequence["Token"]) -> None:
    """Check that there is a key where none can be derived that callers do not know; raises `ConfigError`."""
    if keys:
        return
    offered = any(settings.offers("responses", each) for each in settings.organisations.values())
    if settings.directory is not None and settings.endpoints.responses:
        raise ConfigError(_no_keys("`directory` names a table"))
    if settings.jwt and not tokens and offered:
        raise ConfigError(_no_keys("callers have signed tokens (`jwt`) alone"))


def _no_keys(reason: str) -> str:
    return (
        f"responses.keys: missing; `endpoints.responses` needs one where {reason}: without it a key is derived from "
        "the tokens in this file. Make one with `openssl rand -hex 32`"
    )

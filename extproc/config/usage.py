"""`usage`: where each call's tokens and cost are kept, and summed up.

Decisions: docs/decisions.md, D249, D256, D261.
"""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from extproc.config.document import ConfigError
from extproc.config.kinds import StateFile, YesNo

Days = Annotated[int, Meta(ge=3, le=3650, description="a whole number from 3 to 3650")]

USAGE_SECONDS = 10.0
"""Longest that a request for usage waits for its sums."""


class UsageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of calls, which Envoy writes, and its sums, which workers make. All of it is read at the start."""

    ledger: StateFile | None = None
    """The file to which Envoy adds a line of JSON at the end of each call of an organisation."""
    envoy_ai: YesNo = False
    """Whether Envoy gets a call's tokens in its own namespace `envoy.ai.token_usage`, too."""
    sqlite: StateFile | None = None
    """The file in which the workers of one machine sum up the ledger, for OpenAI's API of usage."""
    keep_days: Days = 400
    """How many days of sums are kept beside today."""

    def placed(self, folder: Path) -> "UsageSettings":
        """Return the settings with whole paths: Envoy may run in another folder."""
        ledger, sqlite = (path and str(folder.absolute() / path) for path in (self.ledger, self.sqlite))
        return msgspec.structs.replace(self, ledger=ledger, sqlite=sqlite)


def check_usage(usage: UsageSettings) -> None:
    """Check that there is something to sum up; raises `ConfigError`."""
    if usage.sqlite is not None and usage.ledger is None:
        raise ConfigError("usage.sqlite: it has the sums of a ledger; name that in `usage.ledger`")

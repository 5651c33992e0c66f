"""`usage`: where each call's tokens and cost are kept.

Decisions: docs/decisions.md, D249, D261.
"""

from pathlib import Path

import msgspec

from extproc.config.kinds import StateFile, YesNo


class UsageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of calls. Envoy and the workers read this when they start."""

    ledger: StateFile | None = None
    """The file to which Envoy adds a line of JSON at the end of each call of an organisation."""
    envoy_ai: YesNo = False
    """Whether Envoy gets a call's tokens in its own namespace `envoy.ai.token_usage`, too."""

    def placed(self, folder: Path) -> "UsageSettings":
        """Return the settings with the whole path of the ledger: Envoy may run in another folder."""
        if self.ledger is None:
            return self
        return msgspec.structs.replace(self, ledger=str(folder.absolute() / self.ledger))

"""`usage`: where each call's tokens and cost are kept.

Decision: docs/decisions.md, D249.
"""

from pathlib import Path

import msgspec

from extproc.config.kinds import StateFile


class UsageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of calls. Only Envoy reads it, when it starts."""

    ledger: StateFile | None = None
    """The file to which Envoy adds a line of JSON at the end of each call of an organisation."""

    def placed(self, folder: Path) -> "UsageSettings":
        """Return the settings with the whole path of the ledger: Envoy may run in another folder."""
        return UsageSettings(self.ledger and str(folder.absolute() / self.ledger))

"""The last good settings, in a file: a worker starts with them while gateway.yaml cannot be used.

The file belongs to one Envoy's configuration. Settings that can only be set at start stay as they are in the file,
because Envoy's configuration was made from the same values; a new configuration needs the file removed.

Invariant: the file is whole or not there, and only its owner can read it. It contains no token, only the hashes that
gateway.yaml has. A file that cannot be read or written is a warning, and never the end of a worker.

Decision: docs/decisions.md, D74.
"""

import contextlib
import datetime
import logging
import os
from pathlib import Path

import msgspec

from extproc.config import Settings
from extproc.config.sources import read_regular

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024


class Version(msgspec.Struct, frozen=True):
    """Settings that were in force: when they came into force, and the SHA-256 of that gateway.yaml."""

    since: datetime.datetime
    sha256: str
    settings: Settings

    def __str__(self) -> str:
        return f"gateway.yaml of {self.since:%Y-%m-%d %H:%M:%S} UTC with SHA-256 {self.sha256[:12]}…"


class LastGood:
    """The file at `path`. Its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version: Version | None = None
        self._trouble = ""

    def load(self) -> Version | None:
        """Return what was kept; None where there is nothing, or nothing that this release can read."""
        try:
            self._version = msgspec.json.decode(read_regular(self.path, MAX_BYTES), type=Version)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log.warning("%s: no settings can be read from it (%s); it is written anew", self.path, error)
            return None
        return self._version

    def save(self, settings: Settings, sha256: str) -> None:
        """Keep these from now on."""
        self._version = Version(datetime.datetime.now(datetime.UTC), sha256, settings)
        self._write()

    def refresh(self) -> None:
        """Write the file again if it is gone."""
        if self._version is not None and not self.path.exists():
            self._write()

    def _write(self) -> None:
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(self._version))
            draft.replace(self.path)
            self._trouble = ""
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            self._warn(
                f"{self.path}: {error.strerror}; without them a worker does not start with a broken gateway.yaml"
            )

    def _warn(self, trouble: str) -> None:
        """Log a trouble once for as long as it is the same."""
        if trouble != self._trouble:
            log.warning("the settings in force cannot be kept in %s", trouble)
        self._trouble = trouble

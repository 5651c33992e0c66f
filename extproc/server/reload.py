"""gateway.yaml while it changes: looks at the file, and tells of new settings.

Polling, because it is the same for a file that is written over, one that is replaced, and a Kubernetes ConfigMap,
whose file is a symlink through a folder that is swapped; a change shows within `INTERVAL_SECONDS`.

Invariant: a file that is broken, or gone, changes nothing: the settings in force stay, and one line per change
says what is wrong with the new ones. What can only be set at start keeps the value that it had then.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from extproc import config
from extproc.config import ConfigError, Settings

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0

FIXED = ("region", "limits", "catalogue", "workers")
"""What can only be set at start."""

TIMEOUTS = (("embeddings", "seconds"), ("media", "seconds"), ("streaming", "silence_seconds"))
"""Likewise: Envoy's own timeouts are made from these."""

Stamp = tuple[int, int, int, int]
"""What tells cheaply that a file is another: device, inode, size, time of change in nanoseconds."""


class SettingsFile:
    """One gateway.yaml. `settings` are the ones in force."""

    def __init__(self, path: Path) -> None:
        """Read `path` for the first time; raises `ConfigError`."""
        self._path = path
        self._stamp = _stamp(path)
        self._trouble = ""
        text = _read(path)
        self._digest = hashlib.sha256(text).digest()
        self.settings = config.parse(text, str(path))

    def poll(self) -> Settings | None:
        """The new settings if the file has changed for the better since the last look, else None."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return None
        try:
            text = _read(self._path)
            digest = hashlib.sha256(text).digest()
            self._stamp, changed = stamp, digest != self._digest
            self._digest = digest
            if not changed:
                return None
            new = config.parse(text, str(self._path))
        except ConfigError as error:
            self._tell(str(error))
            return None
        self._trouble = ""
        self.settings = _keep_fixed(self.settings, new)
        return self.settings

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it is the same."""
        if trouble != self._trouble:
            log.error("%s; the settings that were in force stay", trouble)
        self._trouble = trouble


async def follow(file: SettingsFile, apply: Callable[[Settings], None], interval: float = INTERVAL_SECONDS) -> None:
    """Give `apply` every new version of the settings, until cancelled; `apply` is called in the event loop."""
    while True:
        await asyncio.sleep(interval)
        try:
            settings = await asyncio.to_thread(file.poll)  # a thousand tokens of YAML take a second
            if settings is not None:
                apply(settings)
                log.info("gateway.yaml has changed: %s", _summary(settings))
        except Exception:
            log.exception("gateway.yaml cannot be taken over; the settings that were in force stay")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a readable file with --config") from error


def _stamp(path: Path) -> Stamp | None:
    """The file's stamp, symlinks followed; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _keep_fixed(old: Settings, new: Settings) -> Settings:
    """The new settings, but for what Envoy and the processes were started with."""
    fixed = {name: getattr(old, name) for name in FIXED}
    for name, value in fixed.items():
        if getattr(new, name) != value:
            log.warning("`%s` has changed: that needs a restart; until then the old one is in force", name)
    for section, name in TIMEOUTS:
        seconds, changed = getattr(getattr(old, section), name), getattr(new, section)
        if getattr(changed, name) != seconds:
            log.warning("`%s.%s` has changed: that needs a restart; until then it is %g", section, name, seconds)
        fixed[section] = msgspec.structs.replace(changed, **{name: seconds})
    return msgspec.structs.replace(new, **fixed)


def _summary(settings: Settings) -> str:
    return f"{len(settings.organisations)} organisations, {len(settings.tokens)} tokens"

"""gateway.yaml and its token files while they change: polls them, and publishes new settings.

Polling, because it is the same for a file that is written over, one that is replaced, and a Kubernetes ConfigMap,
whose file is a symlink through a folder that is swapped. A change is taken over once two looks, `INTERVAL_SECONDS`
apart, find it the same: a file that is written over may be valid YAML without its end, in which the `deny` stands.
Where its times change at every look, its text has to be the same.

Invariant: a file that is broken, or gone, changes nothing: the settings in force stay, and one line per change
describes what is wrong with the new ones. gateway.yaml and its token files (`tokens_from`) are taken over together or
not at all: where a token is of an organisation that is still to come, the settings stay until it has. A setting that
can only be set at start keeps the value that it had then.

A worker with a file for the last good settings (`extproc.worker.last_good`) starts with those where a file
is broken or gone. Without any, a broken file is an error at the start.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from extproc import config
from extproc.config import ConfigError, Settings
from extproc.config.budgets import BudgetSettings
from extproc.config.sources import contents, token_files, token_texts
from extproc.worker.file_stamp import Stamp, stamp
from extproc.worker.last_good import LastGood

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0

RESTLESS = 10
"""Polls in a row with a change, from which on texts are compared in place of times."""

FIXED = ("region", "regions", "limits", "catalogue", "cors", "workers", "transport", "trusted_hops", "usage", "redis")
"""Settings that can only be set at start."""

FIXED_PARTS = (
    ("embeddings", "seconds"),
    ("media", "seconds"),
    ("streaming", "idle_seconds"),
    ("media", "deny"),
    ("rate_limits", "sqlite"),
    ("rate_limits", "by"),
    ("rate_limits", "service"),
    ("rate_limits", "domain"),
    ("budgets", "sqlite"),
)
"""Likewise: Envoy's own timeouts are made from the first three, and its questions to a rate limit service from those of
`rate_limits` but for its file; the fetcher and the stores of rates and budgets are made from the others."""

FIRST_LATER = frozenset({("budgets", "sqlite")})
"""Of these, those that may be set for the first time while a worker runs."""


class SettingsFile:
    """A gateway.yaml and the token files that it names. `settings` are the ones in force."""

    def __init__(self, path: Path, last_good: LastGood | None = None) -> None:
        """Read all for the first time; raises `ConfigError` where that fails and `last_good` has nothing."""
        self._path = path
        self._last_good = last_good
        self._trouble = ""
        self._tokens_from: Path | None = None
        self._stamps: dict[Path, Stamp | None] = {}
        self._seen: dict[Path, Stamp | None] = {}
        """The stamps that the latest poll has read."""
        self._restless = 0
        """Polls in a row that have seen something else than the one before."""
        self._restless_texts = b""
        """A digest of their texts at the latest of these."""
        self._digest = b""
        self._sha256 = ""
        self.settings = self._first()

    def poll(self) -> Settings | None:
        """Return the new settings if a file has changed for the better, and not since the last poll, else None."""
        if self._last_good is not None:
            self._last_good.refresh()
        before, self._seen = self._seen, self._look()
        settled = self._settled(before)
        if self._seen == self._stamps or not settled:
            return None
        try:
            new = self._read()
        except ConfigError as error:
            self._tell(str(error), "the settings that were in force stay")
            return None
        if new is None:
            return None
        if self._look() != self._stamps:  # it changed while it was read
            self._stamps, self._digest = {}, b""
            return None
        self._trouble = ""
        self.settings = _mixed(self.settings, new, "that needs a restart; until then the old one is in force")
        self._keep()
        return self.settings

    def _settled(self, before: Mapping[Path, Stamp | None]) -> bool:
        """Return whether the files are as at the last poll. Where they are touched all the time, their texts count."""
        if self._seen == before:
            self._restless = 0
            return True
        self._restless += 1
        if self._restless < RESTLESS:
            return False
        texts, self._restless_texts = self._restless_texts, _texts(self._seen)
        if self._restless % RESTLESS == 1 and texts != self._restless_texts:
            log.error("the files of the settings change all the time: until they rest, the settings in force stay")
        return texts == self._restless_texts

    def _first(self) -> Settings:
        """Return the settings of the files, or the last good ones; raises `ConfigError`."""
        kept = self._last_good.load() if self._last_good is not None else None
        try:
            settings = self._read()
        except ConfigError as error:
            if kept is None:
                raise
            self._tell(str(error), f"starting with the last good settings, {kept}")
            return kept.settings
        assert settings is not None  # the first is always new
        if kept is not None and self._last_good is not None:
            advice = f"the old one is in force, with which Envoy runs; for the new one, remove {self._last_good.path}"
            settings = _mixed(kept.settings, settings, f"{advice}, and start Envoy with a new configuration")
        self.settings = settings
        self._keep()
        return settings

    def _keep(self) -> None:
        """Have the settings in force for the next start."""
        if self._last_good is not None:
            self._last_good.save(self.settings, self._sha256)

    def _read(self) -> Settings | None:
        """Return the settings of the files, None if they are the same as before; raises `ConfigError`."""
        stamps = self._look()  # before they are read: what is written meanwhile shows at the next look
        text = contents(self._path)
        self._stamps = stamps
        before, self._digest = self._digest, b""
        draft = config.draft(text, str(self._path))
        if draft.tokens_from != self._tokens_from:
            self._tokens_from = draft.tokens_from
            self._stamps = self._look() | {self._path: stamps[self._path]}
        texts = token_texts(self._tokens_from) if self._tokens_from else {}
        self._digest = _digest(text, texts)
        self._sha256 = hashlib.sha256(text).hexdigest()
        return draft.settings(texts) if self._digest != before else None

    def _look(self) -> dict[Path, Stamp | None]:
        """Return the stamp of each file there is, gateway.yaml's and its token files'."""
        place = self._tokens_from
        return {path: stamp(path) for path in (self._path, *(_token_files(place) if place else ()))}

    def _tell(self, trouble: str, consequence: str) -> None:
        """Log what is wrong, once for as long as it is the same."""
        if trouble != self._trouble:
            log.error("%s; %s", trouble, consequence)
        self._trouble = trouble


async def follow(
    file: SettingsFile,
    apply: Callable[[Settings], None],
    interval: float = INTERVAL_SECONDS,
    prepare: Callable[[Settings], Awaitable[None]] | None = None,
) -> None:
    """Give `apply` every new version of the settings, until cancelled; `apply` is called in the event loop.

    `prepare` is awaited before; where it fails, the settings in force stay, and it is tried again after each interval.
    """
    pending: Settings | None = None
    while True:
        await asyncio.sleep(interval)
        tried = pending
        try:
            pending = await asyncio.to_thread(file.poll) or pending  # ten thousand tokens take most of a second
            if pending is None:
                continue
            if prepare is not None:
                await prepare(pending)
            settings, pending = pending, None
            apply(settings)
            log.info("gateway.yaml has changed: %s", _summary(settings))
        except Exception:
            if pending is None or pending is not tried:  # else it is in the log already
                log.exception("gateway.yaml cannot be taken over; the settings that were in force stay")


def _token_files(place: Path) -> list[Path]:
    """Return the token files of `place`; of a folder that cannot be read, the folder."""
    try:
        return token_files(place)
    except (OSError, ValueError):
        return [place]


def _digest(text: bytes, texts: Mapping[str, bytes]) -> bytes:
    """Return a digest that differs where any file does."""
    files = [(name, hashlib.sha256(content).digest()) for name, content in sorted(texts.items())]
    return hashlib.sha256(repr((hashlib.sha256(text).digest(), files)).encode()).digest()


def _texts(paths: Iterable[Path]) -> bytes:
    """Return a digest of the texts of these files, another one each time where one of them cannot be read."""
    try:
        return hashlib.sha256(repr([hashlib.sha256(contents(path)).digest() for path in paths]).encode()).digest()
    except ConfigError:
        return os.urandom(16)


def _mixed(old: Settings, new: Settings, advice: str) -> Settings:
    """Return the new settings with what can only be set at the start as it was then, and what depends on that."""
    mixed = _keep_fixed(old, new, advice)
    if old.rate_limits.by == "gateway" and new.rate_limits.by == "envoy":  # the file has to have no limits then
        log.error("`rate_limits.by` has changed: until a restart, limits stay as they were, for somebody has to count")
        mixed = _with_limits(old, mixed)
    try:
        config.check_kept(mixed, mixed.tokens)
    except ConfigError as error:  # there is no store: the file has a `redis`, which only a start connects to
        log.error("%s; `redis` needs a restart, and until then there are no budgets", error)
        mixed = _without_budgets(mixed)
    return mixed


def _keep_fixed(old: Settings, new: Settings, advice: str) -> Settings:
    """Return the new settings, but for what Envoy and the processes were started with; log `advice` if that differs."""
    fixed = {name: getattr(old, name) for name in FIXED}
    for name, value in fixed.items():
        if getattr(new, name) != value:
            log.warning("`%s` has changed: %s", name, advice)
    if new.jwt != old.jwt:
        log.warning("`jwt` has changed: what is gone counts no more, what is new once Envoy has a new configuration")
    by_envoy = (("rate_limits", "on_store_error"),) if old.rate_limits.by == "envoy" else ()
    for section, name in (*FIXED_PARTS, *by_envoy):
        value, changed = getattr(getattr(old, section), name), fixed.get(section, getattr(new, section))
        if value is None and (section, name) in FIRST_LATER:
            continue
        if getattr(changed, name) != value:
            log.warning("`%s.%s` has changed: %s (%s)", section, name, advice, value)
        fixed[section] = msgspec.structs.replace(changed, **{name: value})
    return msgspec.structs.replace(new, **fixed)


def _with_limits(old: Settings, settings: Settings) -> Settings:
    """Return the settings with the limits that organisations and tokens have in the old ones."""
    replace = msgspec.structs.replace
    rates = replace(settings.rate_limits, organisation=old.rate_limits.organisation, token=old.rate_limits.token)
    before = {name: each.limits for name, each in old.organisations.items()}
    own = {name: replace(each, limits=before.get(name)) for name, each in settings.organisations.items()}
    of_token = {token.name: token.limits for token in old.tokens}
    tokens = tuple(replace(token, limits=of_token.get(token.name)) for token in settings.tokens)
    return replace(settings, rate_limits=rates, organisations=own, tokens=tokens)


def _without_budgets(settings: Settings) -> Settings:
    """Return the settings without budgets, for a worker that has no store of them until its restart."""
    replace = msgspec.structs.replace
    own = {name: replace(each, budgets=None, user_budgets=None) for name, each in settings.organisations.items()}
    tokens = tuple(replace(token, budgets=None) for token in settings.tokens)
    return replace(settings, budgets=BudgetSettings(), organisations=own, tokens=tokens)


def _summary(settings: Settings) -> str:
    if settings.directory is not None:
        return f"tokens and organisations are in the table {settings.directory.dynamodb.table}"
    return f"{len(settings.organisations)} organisations, {len(settings.tokens)} tokens"

"""A keeper of one role in one region: its temporary credentials, and the models that it may list.

Credentials are renewed a quarter of an hour before they expire; where that fails, they are used to their last second.
The list is renewed apart from them, with whatever credentials are valid then; where that fails, the last list counts
however old it is, and before there is one, the built-in one. A failure of either is logged once for as long as it is
the same, and so is its end.

Invariant: `identity` returns credentials of the role that are valid now, or None; never anybody else's. No list is
asked for without them.

Decisions: docs/decisions.md, D217, D243.
"""

import logging
import time
from collections.abc import Callable

from extproc.aws.catalogue_keeper import FIRST_RETRY_SECONDS
from extproc.aws.credentials import RENEWAL_SECONDS, NoCredentialsError, ResolvedCredentials
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import seed
from extproc.config.roles import RoleSettings

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 60.0
"""Shortest time between two renewals that succeed, however soon the credentials expire."""

MOST_RETRY_SECONDS = 60.0
"""Longest time between two attempts at credentials that fail."""

AssumeNow = Callable[[str, RoleSettings], ResolvedCredentials]
"""Assumes a role in a region: `AwsLookups.assume`."""

ListNow = Callable[[str, Credentials], Catalogue]
"""Lists the models of a region with the credentials of a role: `AwsLookups.models_as`."""


class RoleKeeper:
    """Keeps one role; `refresh` and `refresh_list` block, everything else needs no wait."""

    def __init__(
        self,
        region: str,
        role: RoleSettings,
        refresh_seconds: float,
        assume: AssumeNow,
        list_models: ListNow,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`refresh_seconds` is how long a list of models is fresh; `clock` returns Unix seconds."""
        self.catalogue = seed(region)
        self.due = 0.0
        """When to renew the credentials next."""
        self.list_due = 0.0
        """When to renew the list next."""
        self._region = region
        self._role = role
        self._interval = refresh_seconds
        self._assume = assume
        self._list_models = list_models
        self._clock = clock
        self._current: ResolvedCredentials | None = None
        self._credentials = _Attempts(f"the role {role.arn} works again in {region}")
        self._lists = _Attempts(f"the role {role.arn} lists models again in {region}")

    def identity(self) -> Credentials | None:
        """Return the role's credentials, None where there are none that are valid now."""
        current = self._current
        if current is None or (current.expires is not None and current.expires <= self._clock()):
            return None
        return current.credentials

    def is_needed(self) -> bool:
        """Return whether there are no valid credentials, and it is time to try for some."""
        return self.due <= self._clock() and self.identity() is None

    def has_failed(self) -> bool:
        """Return whether the last attempt at credentials has failed."""
        return self._credentials.failures > 0

    def list_failed(self) -> bool:
        """Return whether the last attempt at a list has failed."""
        return self._lists.failures > 0

    def refresh(self) -> None:
        """Assume the role once."""
        reason = ""
        try:
            self._current = self._assume(self._region, self._role)
        except NoCredentialsError as error:
            reason = str(error)
        except Exception as error:  # the keeper outlives any failure
            reason = f"the role {self._role.arn} cannot be assumed: {error}"
        self._credentials.note(reason)
        renewal = max(SHORTEST_SECONDS, self._left() - RENEWAL_SECONDS)
        self.due = self._clock() + (self._credentials.pause(MOST_RETRY_SECONDS) if reason else renewal)

    def refresh_list(self) -> None:
        """List the role's models once; nothing where there are no valid credentials any more."""
        keys = self.identity()
        if keys is None:
            return
        reason = ""
        try:
            self.catalogue = self._list_models(self._region, keys)
        except Exception as error:  # the last list outlives any failure
            reason = f"the role {self._role.arn} cannot list models in {self._region}: {error}"
        self._lists.note(reason)
        self.list_due = self._clock() + (self._lists.pause(self._interval) if reason else self._interval)

    def _left(self) -> float:
        """Return how many seconds the credentials are still valid."""
        expires = self._current.expires if self._current else 0.0
        return float("inf") if expires is None else expires - self._clock()


class _Attempts:
    """Attempts at one thing: how many have failed in a row, and why the last one has."""

    def __init__(self, again: str) -> None:
        """`again` is what to log when an attempt succeeds after one that failed."""
        self.failures = 0
        self._reason = ""
        self._again = again

    def note(self, reason: str) -> None:
        """Note the end of an attempt: why it failed, or "". What is new of it is logged."""
        self.failures = self.failures + 1 if reason else 0
        if reason != self._reason:
            if reason:
                log.warning("%s", reason)
            else:
                log.info("%s", self._again)
        self._reason = reason

    def pause(self, most: float) -> float:
        """Return the seconds until the next attempt, after one that failed."""
        return min(most, FIRST_RETRY_SECONDS * 2.0 ** min(self.failures - 1, 30))

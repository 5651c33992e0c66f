"""A keeper of one role in one region: its temporary credentials, and the models that it may list.

Both are renewed together, ahead of need: a quarter of an hour before the credentials expire, or when the list is due.
Where that fails, the credentials are used to their last second, and the last list however old it is; before there is a
list, the built-in one. A failure is logged once for as long as it is the same, and so is its end.

Invariant: `identity` returns credentials of the role that are valid now, or None; never anybody else's.

Decision: docs/decisions.md, D217.
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
"""Longest time between two attempts while there are no valid credentials, or hardly any."""

Assume = Callable[[str, RoleSettings, Callable[[ResolvedCredentials], None]], Catalogue]
"""Assumes a role, passes its credentials on, and returns its models: `AwsLookups.assume`."""


class RoleKeeper:
    """Keeps one role; `refresh` blocks, everything else needs no wait."""

    def __init__(
        self,
        region: str,
        role: RoleSettings,
        refresh_seconds: float,
        assume: Assume,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`refresh_seconds` is how long a list of models is fresh; `clock` returns Unix seconds."""
        self.catalogue = seed(region)
        self.due = 0.0
        """When to refresh next."""
        self._region = region
        self._role = role
        self._interval = refresh_seconds
        self._assume = assume
        self._clock = clock
        self._current: ResolvedCredentials | None = None
        self._failures = 0
        self._reason = ""

    def identity(self) -> Credentials | None:
        """Return the role's credentials, None where there are none that are valid now."""
        current = self._current
        if current is None or (current.expires is not None and current.expires <= self._clock()):
            return None
        return current.credentials

    def is_needed(self) -> bool:
        """Return whether there are no valid credentials, and it is time to try for some."""
        return self.due <= self._clock() and self.identity() is None

    def refresh(self, assumed: Callable[[], None] = lambda: None) -> None:
        """Assume the role and list its models once; `assumed` is called as soon as its credentials are there."""
        reason = ""
        try:
            self.catalogue = self._assume(self._region, self._role, lambda found: self._keep(found, assumed))
        except NoCredentialsError as error:
            reason = str(error)
        except Exception as error:  # the role and the last list outlive any failure
            reason = f"the role {self._role.arn} cannot list models in {self._region}: {error}"
        self._failures = self._failures + 1 if reason else 0
        self.due = self._clock() + self._delay()
        self._tell(reason)

    def _keep(self, found: ResolvedCredentials, assumed: Callable[[], None]) -> None:
        self._current = found
        assumed()

    def _delay(self) -> float:
        """Return the seconds until the next refresh."""
        left = self._left()
        if self._failures:
            most = self._interval if left > RENEWAL_SECONDS else MOST_RETRY_SECONDS
            return min(most, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 30))
        return max(SHORTEST_SECONDS, min(self._interval, left - RENEWAL_SECONDS))

    def _left(self) -> float:
        """Return how many seconds the credentials are still valid."""
        expires = self._current.expires if self._current else 0.0
        return float("inf") if expires is None else expires - self._clock()

    def _tell(self, reason: str) -> None:
        if reason == self._reason:
            return
        if reason:
            log.warning("%s", reason)
        else:
            log.info("the role %s works again in %s", self._role.arn, self._region)
        self._reason = reason

"""A keeper of one region's catalogue of models.

It has a catalogue from the start: the built-in one (`extproc.bedrock.seed`) until AWS has listed its models once, then
the last list, however old, until there is a newer one. A failure is logged once, with its reason, and so is its end;
further attempts that fail in the same way are not logged.

Listing blocks (`extproc.aws.sdk.models`), so it is for a thread of its own, which `start` makes.
"""

import logging
import threading
from collections.abc import Callable

from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.seed import seed, seed_date

log = logging.getLogger(__name__)

LIST_MODELS = "bedrock:ListFoundationModels"
LIST_PROFILES = "bedrock:ListInferenceProfiles"

FIRST_RETRY_SECONDS = 15.0
"""Wait after a failure; each further failure doubles it, up to the interval between refreshes."""

FIRST_LISTING_SECONDS = 5.0
"""Longest wait for a first list, where AWS is slow: then the built-in one counts until it is there."""


class ListingDeniedError(Exception):
    """The gateway's AWS identity may not list models; `actions` are the IAM actions that it lacks."""

    def __init__(self, actions: tuple[str, ...]) -> None:
        super().__init__(f"the gateway's AWS identity may not list models: allow it {' and '.join(actions)}")
        self.actions = actions


class ListingError(Exception):
    """AWS did not list its models; `kind` is AWS's error code, or the name of botocore's exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class CatalogueKeeper:
    """Keeps one region's catalogue fresh. `current` needs no wait and never fails; `listener` gets each new one.

    The listener is called from the keeper's thread, and must not raise.
    """

    def __init__(
        self,
        region: str,
        refresh_seconds: float,
        listener: Callable[[Catalogue], None],
        *,
        fetch: Callable[[str], Catalogue],
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`fetch` lists a region's models at AWS, and may raise anything.

        `wait` blocks for so many seconds, or until `stop`, and returns whether it was stopped.
        """
        self.current = seed(region)
        self.attempted = threading.Event()
        """Set after the first attempt, successful or not."""
        self._region = region
        self._interval = refresh_seconds
        self._listener = listener
        self._fetch = fetch
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._seeded = True
        self._failures = 0
        self._failure: str | None = None

    def start(self) -> None:
        """Refresh now and from then on, in a thread that does not keep the process alive."""
        threading.Thread(target=self.run, name="catalogue", daemon=True).start()

    def stop(self) -> None:
        """End the thread after its current refresh."""
        self._stopped.set()

    def run(self) -> None:
        """Refresh and wait, again and again, until `stop`."""
        delay = self.refresh()
        while not self._wait(delay):
            delay = self.refresh()

    def refresh(self) -> float:
        """List the models once; return the seconds until the next attempt."""
        try:
            catalogue = self._fetch(self._region)
        except Exception as error:  # the thread and the catalogue outlive any failure
            self._keep(error)
        else:
            self._replace(catalogue)
        self.attempted.set()
        if not self._failures:
            return self._interval
        return min(self._interval, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 30))

    def _replace(self, catalogue: Catalogue) -> None:
        if self._failure:
            log.info("listing Bedrock's models in %s works again", self._region)
        self.current = catalogue
        self._failure, self._failures, self._seeded = None, 0, False
        self._listener(catalogue)

    def _keep(self, error: Exception) -> None:
        """Keep the catalogue after a failure; log a failure of a new kind."""
        self._failures += 1
        failure = error.kind if isinstance(error, ListingError) else type(error).__name__
        if failure == self._failure:
            return
        self._failure = failure
        using = f"the built-in list of {seed_date()}" if self._seeded else "the last list"
        log.warning("no list of Bedrock's models in %s, using %s (%s: %s)", self._region, using, failure, error)

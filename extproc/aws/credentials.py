"""The gateway's own AWS identity, always at hand.

AWS's credential chain finds it (`extproc.aws.sdk.identity`), which takes its time, and asks over the network where
there is a role. Here a thread does the asking, and `current` hands out what the thread got last.

Temporary credentials are asked for anew from 15 minutes before they expire. If that fails, the old ones are used to
their last second while the thread goes on trying. Keys from the environment or a file have no expiry.

`AWS_BEARER_TOKEN_BEDROCK` comes before all others, as in botocore, and is sent over https only, as by botocore.

Invariant: `current` blocks on nothing, and gives an identity that is not expired, or raises `NoCredentialsError`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from extproc.bedrock.endpoints import Endpoint
from extproc.bedrock.sigv4 import BearerToken, Credentials

log = logging.getLogger(__name__)

BEARER_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"

POLL_SECONDS = 60.0
"""How often the thread looks whether it is time."""

RENEWAL_SECONDS = 15 * 60.0
"""How long before they expire credentials are asked for anew; botocore's own figure."""

_NOTHING = (
    "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    f"{BEARER_VARIABLE}, or run where a role provides them"
)

Identity = Credentials | BearerToken


class NoCredentialsError(Exception):
    """There is no AWS identity to call Bedrock with; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """An identity, where it comes from (for people, without secrets), and its end in Unix seconds, if it has one."""

    identity: Identity
    origin: str
    expires: float | None = None


class CredentialSource:
    """The AWS identity of this process: `start` it once, then ask for `current` from any thread."""

    def __init__(
        self,
        endpoint: Endpoint,
        find: Callable[[], Found | None],
        *,
        wait: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`endpoint` is where the identity will be sent.

        `find` gives what AWS's settings give, None if that is nothing, or raises `NoCredentialsError`; it may block.
        `wait` blocks for so many seconds, or until `stop`, and says whether it was stopped. `clock` gives Unix seconds.
        """
        self._endpoint = endpoint
        self._find = find
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._clock = clock
        self._held: Found | None = None
        self._reason: str | None = "AWS credentials have not been looked for yet"

    def current(self) -> Identity:
        """What to sign with now, from memory; raises `NoCredentialsError`."""
        held = self._held
        if held is None:
            raise NoCredentialsError(self._reason or _NOTHING)
        if self._expires_within(held, 0):
            raise NoCredentialsError(
                f"the AWS credentials ({held.origin}) have expired: {self._reason or 'renewing them'}"
            )
        return held.identity

    def describe(self) -> str:
        """Where the identity comes from, for people and without secrets: `environment`, `profile dev`, `none`."""
        return self._held.origin if self._held else "none"

    def start(self) -> None:
        """Look now (this blocks), and from then on in a thread that does not keep the process alive."""
        self.refresh()
        threading.Thread(target=self.run, name="credentials", daemon=True).start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()

    def run(self) -> None:
        """What the thread does: wait, look, and so on until `stop`."""
        while not self._wait(POLL_SECONDS):
            if self._held is None or self._expires_within(self._held, RENEWAL_SECONDS):
                self.refresh()

    def refresh(self) -> None:
        """Ask once. What was held before is kept if there is nothing newer."""
        try:
            found = self._look()
            reason = None if found else _NOTHING
        except NoCredentialsError as error:
            found, reason = None, str(error)
        self._held = found or self._held
        if reason != self._reason:
            self._reason = reason
            self._report(reason)

    def _report(self, reason: str | None) -> None:
        """Say what has changed."""
        if reason is None:
            log.info("AWS credentials: %s", self.describe())
        elif self._held:
            log.warning(
                "renewing the AWS credentials (%s) failed, the old ones go on until they expire: %s",
                self.describe(),
                reason,
            )
        else:
            log.warning("%s", reason)

    def _look(self) -> Found | None:
        """What AWS's settings give, None if that is nothing. Blocks; raises `NoCredentialsError`."""
        token = os.environ.get(BEARER_VARIABLE, "").strip()
        if not token:
            return self._find()
        if self._endpoint.scheme != "https":
            raise NoCredentialsError(
                f"{BEARER_VARIABLE} is sent over https only, and Bedrock's endpoint is {self._endpoint}: "
                "unset the one, or change the other"
            )
        return Found(BearerToken(token), f"API key in {BEARER_VARIABLE}")

    def _expires_within(self, held: Found, seconds: float) -> bool:
        """Whether this is temporary and ends that soon."""
        return held.expires is not None and held.expires - self._clock() < seconds

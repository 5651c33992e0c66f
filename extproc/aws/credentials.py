"""The gateway's own AWS identity, always at hand.

AWS's credential chain provides it (`extproc.aws.sdk.identity`), which takes time, and a network call where there is a
role. Here a thread runs the chain, and `current` returns the thread's last result.

Temporary credentials are renewed from 15 minutes before they expire. If that fails, the old ones are used to their
last second while the thread goes on trying. Keys from the environment or a file have no expiry; they are resolved again
when AWS's files change, so that keys are rotated without a restart.

`AWS_BEARER_TOKEN_BEDROCK` comes before all others, as in botocore, and is sent over https only, as by botocore.

Invariant: `current` never blocks, and returns an identity that is not expired, or raises `NoCredentialsError`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.endpoints import Endpoint

log = logging.getLogger(__name__)

BEARER_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"

POLL_SECONDS = 60.0
"""Seconds between two checks for credentials that are about to expire."""

FILES_SECONDS = 1.0
"""Seconds between two checks of AWS's files for changes."""

RENEWAL_SECONDS = 15 * 60.0
"""Seconds before their expiry at which credentials are renewed; botocore's own figure."""

_NOT_FOUND = (
    "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    f"{BEARER_VARIABLE}, or run where a role provides them"
)


class NoCredentialsError(Exception):
    """A missing AWS identity; the message names the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class ResolvedCredentials:
    """Credentials, where they come from (for people, without secrets), and their expiry in Unix seconds, if any."""

    credentials: Credentials
    origin: str
    expires: float | None = None


class CredentialSource:
    """The AWS identity of this process: `start` it once, then call `current` from any thread."""

    def __init__(
        self,
        endpoint: Endpoint,
        find: Callable[[], ResolvedCredentials | None],
        *,
        changed: Callable[[], bool] | None = None,
        wait: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`endpoint` is where the identity will be sent.

        `find` runs AWS's credential chain, which may block: it returns None where nothing is configured, and raises
        `NoCredentialsError`. `changed` returns whether AWS's files have changed since its last call. `wait` blocks for
        so many seconds, or until `stop`, and returns whether it was stopped. `clock` returns Unix seconds.
        """
        self._endpoint = endpoint
        self._find = find
        self._changed = changed
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._clock = clock
        self._current: ResolvedCredentials | BearerToken | None = None
        self._reason: str | None = "AWS credentials have not been looked for yet"

    def current(self) -> Credentials | BearerToken:
        """Return the identity to sign with now, from memory; raises `NoCredentialsError`."""
        current = self._current
        if current is None:
            raise NoCredentialsError(self._reason or _NOT_FOUND)
        if isinstance(current, BearerToken):
            return current
        if self._expires_within(current, 0):
            reason = self._reason or "renewing them"
            raise NoCredentialsError(f"the AWS credentials ({current.origin}) have expired: {reason}")
        return current.credentials

    def describe(self) -> str:
        """Return the identity's origin, for people and without secrets: `environment`, `profile dev`, `none`."""
        if isinstance(self._current, BearerToken):
            return f"API key in {BEARER_VARIABLE}"
        return self._current.origin if self._current else "none"

    def start(self) -> None:
        """Resolve the identity now, which blocks, and from then on in a thread that does not keep the process alive."""
        self.refresh()
        threading.Thread(target=self.run, name="credentials", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Wait, and resolve again what is missing, about to expire or changed in a file, until `stop`."""
        interval = POLL_SECONDS if self._changed is None else FILES_SECONDS
        waited = 0.0
        while not self._wait(interval):
            waited += interval
            if self._changed is not None and self._changed():
                self.refresh()
            elif waited >= POLL_SECONDS:
                waited = 0.0
                if self._is_due():
                    self.refresh()

    def _is_due(self) -> bool:
        current = self._current
        if isinstance(current, BearerToken):
            return False
        return current is None or self._expires_within(current, RENEWAL_SECONDS)

    def refresh(self) -> None:
        """Resolve the identity once. The previous one is kept if there is no newer."""
        try:
            resolved = self._resolve()
            reason = None if resolved else _NOT_FOUND
        except NoCredentialsError as error:
            resolved, reason = None, str(error)
        before = self._current
        self._current = resolved or before
        if reason != self._reason:
            self._reason = reason
            self._log(reason)
        elif _is_rotated(before, resolved):
            log.info("AWS credentials have changed: %s", self.describe())

    def _log(self, reason: str | None) -> None:
        if reason is None:
            log.info("AWS credentials: %s", self.describe())
        elif self._current:
            expires = isinstance(self._current, ResolvedCredentials) and self._current.expires is not None
            until = "go on until they expire" if expires else "stay in force"
            log.warning("renewing the AWS credentials (%s) failed, the old ones %s: %s", self.describe(), until, reason)
        else:
            log.warning("%s", reason)

    def _resolve(self) -> ResolvedCredentials | BearerToken | None:
        """Return the identity of AWS's settings, None if nothing is configured. Blocks; raises `NoCredentialsError`."""
        token = bearer_token()
        if token is None:
            return self._find()
        if error := bearer_error(self._endpoint):
            raise NoCredentialsError(error)
        return token

    def _expires_within(self, resolved: ResolvedCredentials, seconds: float) -> bool:
        return resolved.expires is not None and resolved.expires - self._clock() < seconds


def bearer_token() -> BearerToken | None:
    """Return the API key of `AWS_BEARER_TOKEN_BEDROCK`; None where it is unset or blank."""
    token = os.environ.get(BEARER_VARIABLE, "").strip()
    return BearerToken(token) if token else None


def bearer_error(endpoint: Endpoint) -> str | None:
    """Return why an API key is not sent to this endpoint, None where it is: as by botocore, over https only."""
    if endpoint.scheme == "https":
        return None
    return (
        f"{BEARER_VARIABLE} is sent over https only, and Bedrock's endpoint is {endpoint}: unset {BEARER_VARIABLE}, "
        "or use an https endpoint"
    )


def _is_rotated(
    before: ResolvedCredentials | BearerToken | None, now: ResolvedCredentials | BearerToken | None
) -> bool:
    """Return whether other keys have taken the place of keys without an expiry."""
    if not isinstance(before, ResolvedCredentials) or not isinstance(now, ResolvedCredentials):
        return False
    return now.expires is None and now.credentials != before.credentials

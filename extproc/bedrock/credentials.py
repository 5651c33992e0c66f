"""The gateway's own AWS identity, always at hand.

botocore finds it and knows how to renew it (environment, profile, SSO, web identity, container, instance role …);
what it does not do is stay out of the way: it renews inside the call that asks, over the network, while the caller
waits. Here a thread asks it once a minute, and `current` hands out what the thread got last.

Temporary credentials are renewed by botocore from 15 minutes before they expire. If that fails, the old ones are used
to their last second while the thread goes on trying. Keys from the environment or a file have no expiry.

`AWS_BEARER_TOKEN_BEDROCK` comes before all others, as in botocore, and is sent over https only, as by botocore.

Invariant: `current` blocks on nothing, and gives an identity that is not expired, or raises `NoCredentials`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

import boto3
import botocore.credentials

from extproc.bedrock.endpoints import Endpoint
from extproc.bedrock.sigv4 import BearerToken, Credentials

log = logging.getLogger(__name__)

BEARER_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"

POLL_SECONDS = 60.0
"""How often the thread looks: some fifteen times between botocore's first try and the expiry."""

_CERTAIN_SECONDS = 300
"""Credentials that last longer than this are not looked at again for as long: reading their expiry costs 8 µs."""

_NOTHING = (
    "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    f"{BEARER_VARIABLE}, or run where a role provides them"
)

_METHODS = {
    "env": "environment",
    "assume-role": "role assumed by profile {profile}",
    "assume-role-with-web-identity": "IAM role by web identity",
    "shared-credentials-file": "profile {profile}",
    "config-file": "profile {profile}",
    "custom-process": "credential process of profile {profile}",
    "sso": "SSO session of profile {profile}",
    "login": "login session of profile {profile}",
    "container-role": "IAM role of the container",
    "iam-role": "IAM role of the instance",
}
"""botocore's names for where it found credentials, for people."""

Identity = Credentials | BearerToken


class NoCredentials(Exception):  # noqa: N818 - it names a state of affairs
    """There is no AWS identity to call Bedrock with; the message says why, and what to do."""


class CredentialSource:
    """The AWS identity of this process: `start` it once, then ask for `current` from any thread."""

    def __init__(
        self,
        endpoint: Endpoint | None = None,
        *,
        region: str | None = None,
        session: boto3.Session | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`endpoint` is where the identity will be sent; `region` is for the calls that renew it (STS, SSO).

        `session` is found by AWS's own settings unless it is given. `wait` blocks for so many seconds, or until
        `stop`, and says whether it was stopped.
        """
        self._endpoint = endpoint
        self._region = region
        self._session = session
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._found: botocore.credentials.Credentials | None = None
        self._held: Identity | None = None
        self._certain_until = 0.0
        self._reason: str | None = "AWS credentials have not been looked for yet"
        self._origin = "none"

    def current(self) -> Identity:
        """What to sign with now, from memory; raises `NoCredentials`."""
        held = self._held
        if held is None:
            raise NoCredentials(self._reason or _NOTHING)
        if time.time() >= self._certain_until and self._expires_within(0):
            raise NoCredentials(f"the AWS credentials ({self._origin}) have expired: {self._reason or 'renewing them'}")
        return held

    def found(self) -> bool:
        """Whether AWS's settings give an identity at all. Blocks, for some seconds where there may be a role.

        Raises `NoCredentials` if they mean to give one and cannot, such as a profile that does not exist: that is
        not the same as having none.
        """
        return self._look() is not None

    def describe(self) -> str:
        """Where the identity comes from, for people and without secrets: `environment`, `profile dev`, `none`."""
        return self._origin

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
            self.refresh()

    def refresh(self) -> None:
        """Look once. What was held before is kept if there is nothing newer."""
        try:
            identity = self._look()
            reason = None if identity else _NOTHING
        except NoCredentials as error:
            identity, reason = None, str(error)
        self._held = identity or self._held
        self._certain_until = 0.0 if self._expires_within(_CERTAIN_SECONDS) else time.time() + _CERTAIN_SECONDS
        if reason != self._reason:
            self._reason = reason
            self._report(reason)

    def _report(self, reason: str | None) -> None:
        """Say what has changed."""
        if reason is None:
            log.info("AWS credentials: %s", self._origin)
        elif self._held:
            log.warning(
                "renewing the AWS credentials (%s) failed, the old ones go on until they expire: %s",
                self._origin,
                reason,
            )
        else:
            log.warning("%s", reason)

    def _look(self) -> Identity | None:
        """What AWS's settings give, None if that is nothing; renewed if it is time. Blocks; raises `NoCredentials`."""
        token = os.environ.get(BEARER_VARIABLE, "").strip()
        if token:
            return self._bearer(token)
        try:
            session = self._session or boto3.Session(region_name=self._region)
            self._found = self._found or session.get_credentials()
            if self._found is None:
                return None
            keys = self._found.get_frozen_credentials()
        except Exception as error:  # botocore's own, but also whatever a credential process or a file leads to
            raise NoCredentials(f"AWS credentials are set up, but cannot be had: {error}") from error
        self._origin = _METHODS.get(self._found.method, self._found.method).format(profile=session.profile_name)
        if not keys.access_key or not keys.secret_key:
            raise NoCredentials(f"the AWS credentials ({self._origin}) are empty")
        return Credentials(keys.access_key, keys.secret_key, keys.token or None)

    def _bearer(self, token: str) -> BearerToken:
        """A Bedrock API key, unless it would go over the wire in the clear."""
        if self._endpoint and self._endpoint.scheme != "https":
            raise NoCredentials(
                f"{BEARER_VARIABLE} is sent over https only, and Bedrock's endpoint is {self._endpoint}: "
                "unset the one, or change the other"
            )
        self._origin = f"API key in {BEARER_VARIABLE}"
        return BearerToken(token)

    def _expires_within(self, seconds: int) -> bool:
        """Whether what is held is temporary and ends that soon."""
        found = self._found
        return isinstance(found, botocore.credentials.RefreshableCredentials) and found.refresh_needed(seconds)

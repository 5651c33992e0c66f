"""The Bedrock of `up`: AWS's, or a local one when there are no AWS credentials; and the environment of its programs.

AWS's own settings decide, through botocore, so that `up` finds exactly what the workers will find. It is imported when
they are read: a local Bedrock with a configuration has its region from there, and needs none of it. The invariant: in
local mode no AWS credential of the user reaches a program of ours, and nothing of ours reaches AWS.

Decision: docs/decisions.md, D275.
"""

import secrets
import shlex
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, TypeVar

from extproc.aws.credentials import BEARER_VARIABLE, bearer_error
from extproc.bedrock.endpoints import EndpointError, Endpoints
from extproc.proxy import AUTHORIZATION_VARIABLE, Proxy

Result = TypeVar("Result")

Mode = Literal["auto", "aws", "local"]

DEFAULT_REGION = "us-east-1"

ENDPOINTS = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL")

CREDENTIALS_SECONDS = 60.0
"""Timeout of AWS's credential chain, for `up`."""

_NOT_FOR_LOCAL = (
    BEARER_VARIABLE,
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


_EVERYBODY = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER")
"""Variables that a program of any kind may need. None of these is a secret."""
_EVERYBODY_PREFIXES = ("LC_",)
_PYTHON = ("VIRTUAL_ENV",)
_PYTHON_PREFIXES = ("PYTHON", "COVERAGE_")


class UpstreamError(Exception):
    """A missing upstream; the message names the settings to add."""


@dataclass(frozen=True, slots=True)
class Aws:
    """The real service (or the endpoint in AWS's settings), with the user's own credentials."""

    endpoints: Endpoints
    credentials: str
    """The source of the credentials, or why none are valid now: for the banner."""

    @property
    def region(self) -> str:
        """The region whose models are served."""
        return self.endpoints.region

    def __str__(self) -> str:
        return f"{self.endpoints.runtime} (AWS, {self.credentials})"


@dataclass(frozen=True, slots=True)
class Local:
    """A Bedrock of our own, which accepts one pair of keys, generated for this run."""

    region: str
    access_key: str
    secret_key: str
    reason: str
    elsewhere: tuple[str, ...] = ()
    """Other regions in whose place it stands as well."""

    def __str__(self) -> str:
        return f"local Bedrock ({self.reason})"


def choose(mode: Mode, region: str | None, environ: Mapping[str, str], elsewhere: tuple[str, ...] = ()) -> Aws | Local:
    """Choose the upstream. `region` is gateway.yaml's, which counts for more than AWS's; raises `UpstreamError`.

    `elsewhere` are the other regions that organisations may name.

    May call the instance metadata service, as AWS's credential chain does: seconds, where there is none.
    """
    if mode == "local":
        return _local(region, environ, "asked for", elsewhere)
    credentials = _credentials(environ, region)
    if credentials is not None:
        return _aws(region, credentials, elsewhere)
    if mode == "aws":
        raise UpstreamError(
            "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            f"or {BEARER_VARIABLE}; or leave --upstream away and try the gateway with a local Bedrock"
        )
    named = next((name for name in ENDPOINTS if environ.get(name)), None)
    if named is not None:
        raise UpstreamError(
            f"{named} is set, but there are no AWS credentials to sign with; set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY (any will do for an emulator), or use --upstream local"
        )
    return _local(region, environ, "no AWS credentials found", elsewhere)


def aws_region(environ: Mapping[str, str]) -> str | None:
    """Return the region of AWS's settings, if any; a broken profile has none."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    from extproc.aws.sdk.endpoints import settings_region

    try:
        return settings_region(environ, get_session())
    except BotoCoreError:
        return None


def envoy_environment(environ: Mapping[str, str], proxy: Proxy | None = None) -> dict[str, str]:
    """Return what Envoy needs of `environ`: nothing of AWS's, and nothing that it does not know.

    With a password for `proxy`, the header that has it: everybody may read a command line, and a file may be copied.
    """
    password = {AUTHORIZATION_VARIABLE: proxy.authorization} if proxy and proxy.authorization else {}
    return _only(environ, _EVERYBODY, _EVERYBODY_PREFIXES) | password


def bedrock_environment(environ: Mapping[str, str], local: "Local") -> dict[str, str]:
    """Return what the local Bedrock needs of `environ`, and its keys, which a command line would show to everybody."""
    kept = _only(environ, _EVERYBODY + _PYTHON, _EVERYBODY_PREFIXES + _PYTHON_PREFIXES)
    return kept | {"BEDROCK_LOCAL_ACCESS_KEY": local.access_key, "BEDROCK_LOCAL_SECRET_KEY": local.secret_key}


def local_environment(environ: Mapping[str, str], local: Local, url: str) -> dict[str, str]:
    """Return `environ`, turned towards the local Bedrock at `url` and away from everything that is the user's."""
    kept = {name: value for name, value in environ.items() if name not in _NOT_FOR_LOCAL}
    return (
        kept
        | _exempt(environ, url)
        | {
            "AWS_ACCESS_KEY_ID": local.access_key,
            "AWS_SECRET_ACCESS_KEY": local.secret_key,
            "AWS_REGION": local.region,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
            "AWS_ENDPOINT_URL_BEDROCK": url,
            "AWS_ENDPOINT_URL_STS": url,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    )


def _exempt(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """Return the variable that exempts `url` from the network's proxy, if there may be one: images need the proxy."""
    if not any(name.lower().endswith("_proxy") for name in environ):
        return {}
    named = environ.get("no_proxy", environ.get("NO_PROXY", "")).strip()
    host = url.partition("://")[2].rpartition(":")[0]
    return {"no_proxy": named if named == "*" else ",".join(filter(None, (named, host)))}


def _only(environ: Mapping[str, str], names: tuple[str, ...], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name in names or name.startswith(prefixes)}


def _local(region: str | None, environ: Mapping[str, str], reason: str, elsewhere: tuple[str, ...]) -> Local:
    return Local(
        region=region or aws_region(environ) or DEFAULT_REGION,
        access_key="LOCAL" + secrets.token_hex(8).upper(),
        secret_key=secrets.token_urlsafe(30),
        reason=reason,
        elsewhere=elsewhere,
    )


def _aws(region: str | None, credentials: str, elsewhere: tuple[str, ...]) -> Aws:
    endpoints = _endpoints(region, elsewhere)
    if credentials == _FROM_BEARER and (error := bearer_error(endpoints.runtime)):
        raise UpstreamError(error)
    return Aws(endpoints, credentials)


_FROM_BEARER = f"credentials from {BEARER_VARIABLE}"


def _credentials(environ: Mapping[str, str], region: str | None) -> str | None:
    """Return where botocore finds credentials, or why they are not valid; None where none are configured.

    Credentials that are configured lead to AWS even while they are not valid: the workers look again, and go on once
    somebody has logged in. Their values are not kept.
    """
    if environ.get(BEARER_VARIABLE):
        return _FROM_BEARER
    try:
        return _within(CREDENTIALS_SECONDS, lambda: _find(region or aws_region(environ) or DEFAULT_REGION))
    except UpstreamError:
        raise
    except Exception as error:  # botocore's, and what the OS raises for a `credential_process`
        raise UpstreamError(f"AWS's settings cannot be used: {_one_line(error)}; or use --upstream local") from error


def _find(region: str) -> str | None:
    from botocore.session import get_session

    session = get_session()
    session.set_config_variable("region", region)
    source = session.get_credentials()
    if source is None:
        return None
    try:
        keys = source.get_frozen_credentials()
    except Exception as error:  # any of botocore's, or the network's
        return f"no valid credentials from {source.method}: {_remedy(source.method, session.profile, error)}"
    if not keys.access_key or not keys.secret_key:
        return f"no valid credentials: those from {source.method} are empty"
    return f"credentials from {source.method}"


def _remedy(method: str, profile: str | None, error: Exception) -> str:
    """Return what to do about credentials that cannot be obtained."""
    if method in _LOGINS:
        return f"run {_LOGINS[method]}{f' --profile {shlex.quote(profile)}' if profile else ''} ({_one_line(error)})"
    return _one_line(error)


_LOGINS = {"sso": "aws sso login", "login": "aws login"}
"""The methods of botocore's chain that a person has to log in for -> the command."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """Run `work` in a thread, and wait for it that long; raises what it raises, or `UpstreamError`."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        raise UpstreamError(
            f"AWS credentials were not found within {seconds:g} s: does a `credential_process` of the profile hang? "
            "Or use --upstream local"
        ) from error


def _endpoints(region: str | None, elsewhere: tuple[str, ...]) -> Endpoints:
    from extproc.aws.sdk.endpoints import resolve

    try:
        return resolve(region, elsewhere=elsewhere)
    except EndpointError as error:
        raise UpstreamError(str(error)) from error

"""The gateway's AWS identity: botocore resolves it, and a thread renews it without delaying requests."""

import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials

from extproc.aws.credentials import (
    FILES_SECONDS,
    POLL_SECONDS,
    CredentialSource,
    NoCredentialsError,
    ResolvedCredentials,
)
from extproc.aws.sdk.identity import find
from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.endpoints import Endpoint

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
HTTPS = Endpoint("https", "bedrock-runtime.us-east-1.amazonaws.com", 443)
HTTP = Endpoint("http", "127.0.0.1", 4566)


def looked(endpoint: Endpoint = HTTPS) -> CredentialSource:
    source = CredentialSource(endpoint, find)
    source.refresh()
    return source


# --- where it comes from -----------------------------------------------------------------------------------------


def test_the_environment(aws: Callable[..., None]) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s3cret")
    source = looked()
    assert source.current() == Credentials("AKID", "s3cret")
    assert source.describe() == "environment"


def test_a_session_token(aws: Callable[..., None]) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s3cret", AWS_SESSION_TOKEN="session")
    assert looked().current() == Credentials("AKID", "s3cret", "session")


@pytest.mark.parametrize("file", ["config", "credentials"])
def test_a_profile(aws: Callable[..., None], file: str) -> None:
    section = "profile dev" if file == "config" else "dev"
    aws(AWS_PROFILE="dev", config="[profile dev]\nregion=eu-west-1\n")
    aws(**{file: f"[{section}]\naws_access_key_id = AKDEV\naws_secret_access_key = s\n"})
    source = looked()
    assert source.current() == Credentials("AKDEV", "s")
    assert source.describe() == "profile dev"


def test_a_credential_process_whose_keys_expire(aws: Callable[..., None], tmp_path: Any) -> None:
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    output = {"Version": 1, "AccessKeyId": "AKPROC", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": expires}
    script = tmp_path / "process.py"
    script.write_text(f"print({json.dumps(json.dumps(output))})")
    aws(config=f"[default]\ncredential_process = {sys.executable} {script}\n")
    source = looked()
    assert source.current() == Credentials("AKPROC", "s", "t")
    assert source.describe() == "credential process of profile default"
    resolved = find()
    assert resolved is not None
    assert resolved.expires == datetime.fromisoformat(expires).timestamp()


def test_a_bedrock_api_key_comes_first(aws: Callable[..., None]) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s3cret", AWS_BEARER_TOKEN_BEDROCK="bedrock-api-key-1")
    source = looked()
    assert source.current() == BearerToken("bedrock-api-key-1")
    assert source.describe() == "API key in AWS_BEARER_TOKEN_BEDROCK"


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_api_key_is_none(aws: Callable[..., None], blank: str) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s3cret", AWS_BEARER_TOKEN_BEDROCK=blank)
    assert looked().current() == Credentials("AKID", "s3cret")


def test_an_api_key_is_not_sent_in_the_clear(aws: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    aws(AWS_BEARER_TOKEN_BEDROCK="bedrock-api-key-1")
    source = looked(HTTP)
    with pytest.raises(
        NoCredentialsError, match=r"is sent over https only, and Bedrock's endpoint is http://127\.0\.0\.1:4566"
    ):
        source.current()
    assert "bedrock-api-key-1" not in caplog.text


# --- none --------------------------------------------------------------------------------------------------------


def test_without_credentials_there_is_no_result(aws: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    source = looked()
    with pytest.raises(NoCredentialsError, match="no AWS credentials were found: set AWS_PROFILE"):
        source.current()
    assert source.describe() == "none"
    assert find() is None
    source.refresh()
    assert len([record for record in caplog.records if record.name == "extproc.aws.credentials"]) == 1


def test_before_the_first_look(aws: Callable[..., None]) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s3cret")
    source = CredentialSource(HTTPS, find)
    with pytest.raises(NoCredentialsError, match="not been looked for yet"):
        source.current()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AWS_PROFILE": "nope"}, r"profile \(nope\) could not be found"),
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "missing: AWS_SECRET_ACCESS_KEY"),
        ({"config": "[default]\ncredential_process = /nonexistent/program\n"}, "No such file"),
        ({"config": "[default\n"}, "Unable to parse config file"),
        (
            {"credentials": "[default]\naws_access_key_id = A\naws_secret_access_key =\n"},
            r"\(profile default\) are empty",
        ),
    ],
)
def test_settings_that_are_broken_are_not_the_same_as_none(
    aws: Callable[..., None], settings: dict[str, str], words: str
) -> None:
    aws(**settings)
    with pytest.raises(NoCredentialsError, match=words):
        find()
    with pytest.raises(NoCredentialsError, match=words):
        looked().current()


def test_credentials_that_turn_up_later(aws: Callable[..., None]) -> None:
    source = looked()
    aws(credentials="[default]\naws_access_key_id = LATE\naws_secret_access_key = s\n")
    source.refresh()
    assert source.current() == Credentials("LATE", "s")


# --- renewed -----------------------------------------------------------------------------------------------------


class Role:
    """A role whose keys last an hour, by a clock that the test sets; botocore renews them."""

    def __init__(self) -> None:
        self.now = START
        self.renewals = 0
        self.failure: Exception | None = None
        self.before: Callable[[], None] = lambda: None
        self.credentials = RefreshableCredentials(
            "AK0",
            "s",
            "t",
            expiry_time=START + timedelta(hours=1),
            refresh_using=self.renew,
            method="iam-role",
            time_fetcher=lambda: self.now,
        )
        session: Any = SimpleNamespace(get_credentials=lambda: self.credentials, profile=None)
        self.find = lambda: find(session)
        self.source = CredentialSource(HTTPS, self.find, clock=lambda: self.now.timestamp())

    def renew(self) -> dict[str, str]:
        self.before()
        if self.failure:
            raise self.failure
        self.renewals += 1
        expires = (self.now + timedelta(hours=1)).isoformat()
        return {"access_key": f"AK{self.renewals}", "secret_key": "s", "token": "t", "expiry_time": expires}

    def at(self, minutes: float) -> "Role":
        """Move the clock to `passed` after the start, then find the credentials again."""
        self.now = START + timedelta(minutes=minutes)
        self.source.refresh()
        return self

    @property
    def key(self) -> str:
        identity = self.source.current()
        assert isinstance(identity, Credentials)
        return identity.access_key


@pytest.fixture
def role(aws: Callable[..., None]) -> Role:
    return Role().at(0)


def test_keys_are_renewed_a_quarter_of_an_hour_ahead(role: Role) -> None:
    assert role.source.describe() == "IAM role of the instance"
    assert role.at(44).key == "AK0"
    assert role.at(46).key == "AK1"
    assert role.at(60).key == "AK1"
    assert role.at(46 + 46).key == "AK2"


@pytest.mark.parametrize("minutes", [46, 52, 59.9])
def test_keys_that_cannot_be_renewed_are_used_until_they_expire(role: Role, minutes: float) -> None:
    role.failure = OSError("no route to metadata service")
    assert role.at(minutes).key == "AK0"


def test_expired_keys_are_never_handed_out(role: Role) -> None:
    role.failure = OSError("no route to metadata service")
    role.at(61)
    with pytest.raises(NoCredentialsError, match=r"\(IAM role of the instance\) have expired: .*no route to metadata"):
        role.source.current()
    role.failure = None
    assert role.at(62).key == "AK1"


def test_keys_that_expire_between_two_looks(role: Role) -> None:
    role.failure = OSError("no route to metadata service")
    role.at(59)
    assert role.key == "AK0"
    role.now = START + timedelta(minutes=60, seconds=1)
    with pytest.raises(NoCredentialsError, match="have expired"):
        role.source.current()


def test_trouble_is_logged_once_and_so_is_its_end(role: Role, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="extproc.aws.credentials")
    role.failure = OSError("no route to metadata service")
    role.at(52).at(53).at(54)
    role.failure = None
    role.at(55)
    lines = [record.getMessage() for record in caplog.records if record.name == "extproc.aws.credentials"]
    assert lines == [
        "renewing the AWS credentials (IAM role of the instance) failed, the old ones go on until they expire: "
        "AWS credentials are configured, but cannot be obtained: no route to metadata service",
        "AWS credentials: IAM role of the instance",
    ]


def test_no_request_waits_while_keys_are_renewed(role: Role) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert release.wait(30)

    role.before = slow
    role.now = START + timedelta(minutes=55)
    renewal = threading.Thread(target=role.source.refresh)
    renewal.start()
    assert entered.wait(30)
    assert role.key == "AK0"
    release.set()
    renewal.join(30)
    assert role.key == "AK1"


@pytest.mark.parametrize(
    ("lasts", "lookups"),
    [(None, 1), (timedelta(minutes=60), 2), (timedelta(minutes=10), 6)],
    ids=["for ever", "an hour", "less than it takes to renew"],
)
def test_the_thread_wakes_every_minute_and_renews_when_due(lasts: timedelta | None, lookups: int) -> None:
    waits: list[float] = []
    resolved: list[ResolvedCredentials] = []

    def now() -> datetime:
        return START + timedelta(minutes=20 * len(waits))

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 5

    def search() -> ResolvedCredentials:
        key = Credentials(f"AK{len(resolved)}", "s")
        resolved.append(ResolvedCredentials(key, "somewhere", (now() + lasts).timestamp() if lasts else None))
        return resolved[-1]

    source = CredentialSource(HTTPS, search, wait=wait, clock=lambda: now().timestamp())
    source.refresh()
    source.run()
    assert waits == [POLL_SECONDS] * 6
    assert len(resolved) == lookups


def test_the_thread_looks_every_minute_while_there_are_no_credentials() -> None:
    results = [None, None, ResolvedCredentials(Credentials("LATE", "s"), "somewhere")]
    source = CredentialSource(HTTPS, lambda: results.pop(0), wait=lambda _: not results)
    source.refresh()
    source.run()
    assert source.current() == Credentials("LATE", "s")


def test_keys_in_a_file_are_read_again_when_it_has_changed(
    aws: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="extproc.aws.credentials")
    keys = "[default]\naws_access_key_id = {}\naws_secret_access_key = s\n"
    aws(credentials=keys.format("OLD"))
    looks = iter([False, True, False, True])
    versions = iter([keys.format("NEW"), "[default\n"])

    def changed() -> bool:
        if look := next(looks):
            aws(credentials=next(versions))
        return look

    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 4

    source = CredentialSource(HTTPS, find, changed=changed, wait=wait)
    source.refresh()
    assert source.current() == Credentials("OLD", "s")
    source.run()
    assert waits == [FILES_SECONDS] * 5
    assert source.current() == Credentials("NEW", "s")
    first, second, third = (
        record.getMessage() for record in caplog.records if record.name == "extproc.aws.credentials"
    )
    assert (first, second) == ("AWS credentials: profile default", "AWS credentials have changed: profile default")
    assert third.startswith("renewing the AWS credentials (profile default) failed, the old ones stay in force: ")


def test_while_files_are_followed_keys_that_expire_are_renewed_once_a_minute() -> None:
    waits: list[float] = []
    resolved: list[int] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return sum(waits) > 3 * POLL_SECONDS

    def search() -> ResolvedCredentials:
        resolved.append(1)
        return ResolvedCredentials(Credentials("AK", "s"), "somewhere", expires=1.0)

    CredentialSource(HTTPS, search, changed=lambda: False, wait=wait, clock=lambda: 0.0).run()
    assert len(resolved) == 3


def test_start_looks_at_once_and_stop_ends_the_thread(aws: Callable[..., None]) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="s3cret")
    source = CredentialSource(HTTPS, find)
    source.start()
    assert source.current() == Credentials("AKID", "s3cret")
    [thread] = [thread for thread in threading.enumerate() if thread.name == "credentials"]
    assert thread.daemon
    source.stop()
    thread.join(30)
    assert not thread.is_alive()

"""AWS lookups in a subprocess: real processes with botocore, and an AWS of this test."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from extproc.aws import lookup as lookup_module
from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.aws.lookup import AwsLookup, AwsLookupError, AwsLookups
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.endpoints import Endpoint, EndpointError
from extproc.config.roles import RoleSettings

REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s3cret"}
MODEL = {"modelId": "maker.model-v1:0", "modelArn": "arn", "inferenceTypesSupported": ["ON_DEMAND"]}
MODEL |= {"inputModalities": ["TEXT"], "outputModalities": ["TEXT"]}


class OneModelControlPlane(BaseHTTPRequestHandler):
    """A control plane that lists one model, or responds with the error `rejection`."""

    refusal: str | None = None

    def do_GET(self) -> None:
        key = "modelSummaries" if self.path == "/foundation-models" else "inferenceProfileSummaries"
        response: Any = {key: [MODEL] if key == "modelSummaries" else []}
        body = json.dumps({"message": "no"} if self.refusal else response).encode()
        self.send_response(403 if self.refusal else 200)
        if self.refusal:
            self.send_header("x-amzn-errortype", self.refusal)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Discard the log line."""


@pytest.fixture
def bedrock(aws: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[OneModelControlPlane]]:
    """Start the Bedrock that AWS's settings name; a test may set its `rejection`."""
    monkeypatch.setattr(OneModelControlPlane, "refusal", None)
    with ThreadingHTTPServer(("127.0.0.1", 0), OneModelControlPlane) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        aws(**KEYS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}")
        yield OneModelControlPlane
        server.shutdown()
        thread.join()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the lookup process with a shell script."""

    def place(script: str) -> None:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(path))

    return place


def looking(region: str | None = REGION) -> AwsLookups:
    lookups = AwsLookups()
    lookups.set_region(region)
    return lookups


def line_with(question: str, response: object) -> str:
    return f"echo '{json.dumps({'question': question, 'result': response})}'"


def test_one_process_serves_all_lookups_and_later_ones_start_anew(
    bedrock: type[OneModelControlPlane], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = looking()
    endpoints = lookups.endpoints()
    assert (endpoints.region, endpoints.runtime.host, endpoints.control.scheme) == (REGION, "127.0.0.1", "http")
    assert lookups.identity() == ResolvedCredentials(Credentials("AKID", "s3cret"), "environment")
    assert [entry.id for entry in lookups.catalogue(REGION).entries()] == ["maker.model-v1:0"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKNEW")
    assert lookups.identity() == ResolvedCredentials(Credentials("AKNEW", "s3cret"), "environment")
    bedrock.refusal = "ThrottlingException"
    with pytest.raises(ListingError) as caught:
        lookups.catalogue(REGION)
    assert caught.value.kind == "ThrottlingException"


def test_the_region_may_be_awss_own(aws: Callable[..., None]) -> None:
    aws(AWS_REGION="eu-west-3")
    assert looking(None).endpoints().runtime.host == "bedrock-runtime.eu-west-3.amazonaws.com"


def test_without_a_region_the_error_names_what_to_set(aws: Callable[..., None]) -> None:
    with pytest.raises(EndpointError, match=r"set `region:` in gateway\.yaml, or AWS_REGION"):
        looking(None).endpoints()


def test_nothing_set_up_is_no_identity(aws: Callable[..., None]) -> None:
    lookups = looking()
    lookups.endpoints()
    assert lookups.identity() is None


def test_an_api_key_is_not_looked_behind(aws: Callable[..., None]) -> None:
    aws(AWS_BEARER_TOKEN_BEDROCK="bedrock-api-key-1", AWS_PROFILE="nope")
    lookup = AwsLookup("identity")
    lookup.set_region(REGION)
    reply = lookup.ask("identity")
    assert reply.problem is None
    assert bytes(reply.result) == b"null"


def test_an_unrequested_line_is_ignored(bedrock: type[OneModelControlPlane]) -> None:
    lookups = looking()
    lookups.endpoints()
    assert lookups.catalogue(REGION).entries()


def test_settings_that_are_broken(aws: Callable[..., None]) -> None:
    aws(AWS_ACCESS_KEY_ID="AKID")
    lookups = looking()
    lookups.endpoints()
    with pytest.raises(NoCredentialsError, match=r"cannot be obtained: .*AWS_SECRET_ACCESS_KEY"):
        lookups.identity()


def test_a_missing_permission_is_named(bedrock: type[OneModelControlPlane]) -> None:
    bedrock.refusal = "AccessDeniedException"
    lookups = looking()
    lookups.endpoints()
    with pytest.raises(ListingDeniedError) as caught:
        lookups.catalogue(REGION)
    assert caught.value.actions == ("bedrock:ListFoundationModels", "bedrock:ListInferenceProfiles")


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(AwsLookupError, match="no process could be started"):
        AwsLookups()


def test_a_process_that_ends_early(program: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    program("read region; echo 'MemoryError'; exit 3")
    lookups = looking()
    with pytest.raises(EndpointError, match="ended with 3"):
        lookups.endpoints()
    with pytest.raises(NoCredentialsError, match="ended with 3"):
        lookups.identity()
    with pytest.raises(AwsLookupError, match="ended with 3"):
        lookups.catalogue(REGION)
    assert {record.getMessage() for record in caplog.records} == {"while AWS was asked: MemoryError"}


def test_a_process_that_is_killed(program: Callable[[str], None]) -> None:
    program("kill -KILL $$")
    with pytest.raises(EndpointError, match=f"ended with -{signal.SIGKILL.value}"):
        looking().endpoints()


def test_a_truncated_line_is_discarded_and_reaches_no_log(
    program: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    program("""read region; printf '{"question":"identity","result":[{"access_key":"AKID","secret_k'; kill -KILL $$""")
    lookup = AwsLookup("identity")
    lookup.set_region(REGION)
    with pytest.raises(AwsLookupError) as caught:
        lookup.ask("identity")
    assert "AKID" not in caplog.text + str(caught.value)


def test_after_a_look_that_failed_comes_another(
    bedrock: type[OneModelControlPlane], program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = sys.executable
    program("exit 1")
    lookups = looking()
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(EndpointError):
        lookups.endpoints()
    assert lookups.catalogue(REGION).entries()


def test_other_lines_of_the_process_are_logged(
    program: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    program(f"read region; echo 'this Python is old' >&2; {line_with('models', None)}")
    lookup = AwsLookup("models")
    lookup.set_region(REGION)
    assert bytes(lookup.ask("models").result) == b"null"
    assert [record.getMessage() for record in caplog.records] == ["while AWS was asked: this Python is old"]


def test_the_lookup_process_does_not_outlive_its_parent(aws: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        aws(**KEYS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        command = [sys.executable, "-m", "extproc.aws.sdk", "models"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(b'{"region":"us-east-1"}\n')
            process.stdin.flush()
            silent.accept()[0].recv(1)  # it waits for AWS now
            os.kill(process.pid, signal.SIGINT)  # Ctrl-C reaches all of a terminal's processes
            process.stdin.close()
            assert process.wait(30) == 0


def test_the_endpoint_of_a_table(aws: Callable[..., None]) -> None:
    aws(**KEYS, AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:8000")
    lookups = AwsLookups()
    lookups.set_region(REGION)
    assert lookups.table("eu-west-1") == Endpoint("http", "127.0.0.1", 8000)
    aws(AWS_ENDPOINT_URL_DYNAMODB="ftp://nowhere")
    with pytest.raises(EndpointError, match="must be http://HOST:PORT"):
        lookups.table("eu-west-1")


# A role

ROLE = RoleSettings(arn="arn:aws:iam::123456789012:role/acme", external_id="7f3a")
ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>
<Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
DENIED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>"""


@pytest.fixture
def sts(bedrock: type[OneModelControlPlane], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have the same server be STS as well; it records who asks, and has the response of `xml`."""
    seen: dict[str, Any] = {"xml": (200, ASSUMED), "forms": [], "authorizations": []}
    listed = bedrock.do_GET

    def do_post(self: BaseHTTPRequestHandler) -> None:
        seen["forms"].append(self.rfile.read(int(self.headers["content-length"])).decode())
        seen["authorizations"].append(self.headers["authorization"])
        status, text = seen["xml"]
        self.send_response(status)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_get(self: OneModelControlPlane) -> None:
        seen["authorizations"].append(self.headers["authorization"])
        listed(self)

    monkeypatch.setattr(bedrock, "do_POST", do_post, raising=False)
    monkeypatch.setattr(bedrock, "do_GET", do_get)
    return seen


@pytest.fixture
def idle(sts: dict[str, Any]) -> Iterator[AwsLookups]:
    """Lookups whose first process asks AWS nothing, since it is told no region."""
    lookups = AwsLookups()
    yield lookups
    lookups._first._kill()


@pytest.mark.parametrize("more", [{}, {"AWS_BEARER_TOKEN_BEDROCK": "an-api-key"}], ids=["keys", "API key"])
def test_a_role_is_assumed_and_its_models_are_listed_with_its_own_keys(
    idle: AwsLookups, sts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    """An API key of Bedrock's in the environment, which botocore prefers to any keys, takes no part in it."""
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    found = idle.assume("eu-west-1", ROLE)
    assert found == ResolvedCredentials(
        Credentials("ASIAROLE", "role-secret", "role-token"), f"role {ROLE.arn}", 1893456000.0
    )
    catalogue = idle.models_as("eu-west-1", found.credentials)
    assert catalogue.region == "eu-west-1"
    assert [entry.id for entry in catalogue.entries()] == ["maker.model-v1:0"]
    [form] = sts["forms"]
    assert "ExternalId=7f3a" in form
    assert "RoleSessionName=oai-extproc" in form
    assumed, *lists = sts["authorizations"]
    assert "Credential=AKID/" in assumed
    assert "/eu-west-1/sts/" in assumed
    assert lists
    assert all("Credential=ASIAROLE/" in each and "/eu-west-1/bedrock/" in each for each in lists)


def test_a_role_that_cannot_be_assumed_lists_nothing(idle: AwsLookups, sts: dict[str, Any]) -> None:
    sts["xml"] = (403, DENIED)
    with pytest.raises(NoCredentialsError, match=f"the role {ROLE.arn} cannot be assumed: .*AccessDenied"):
        idle.assume("eu-west-1", ROLE)
    assert len(sts["authorizations"]) == 1, "no list of models is asked for, with whatever keys"


def test_a_role_that_may_list_nothing_has_credentials_all_the_same(
    idle: AwsLookups, bedrock: type[OneModelControlPlane]
) -> None:
    bedrock.refusal = "AccessDeniedException"
    keys = idle.assume("eu-west-1", ROLE).credentials
    assert keys.access_key == "ASIAROLE"
    with pytest.raises(ListingDeniedError):
        idle.models_as("eu-west-1", keys)


def test_a_list_of_a_role_that_does_not_come_ends_sooner_than_the_gateways_own(
    idle: AwsLookups, sts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_module, "ROLE_MODELS_SECONDS", 0.0)
    with pytest.raises(AwsLookupError, match="has not returned the models within 0 s: does the network drop"):
        idle.models_as("eu-west-1", Credentials("ASIAROLE", "role-secret", "role-token"))


def test_a_role_without_credentials_of_the_gateways(
    idle: AwsLookups, sts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "an-api-key")
    with pytest.raises(NoCredentialsError, match="cannot be assumed: Unable to locate credentials"):
        idle.assume("eu-west-1", ROLE)
    assert sts["authorizations"] == []

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

from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.aws.lookup import AwsLookup, AwsLookupError, AwsLookups
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.endpoints import Endpoint, EndpointError

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

"""Organisations with roles of their own: their calls are signed with the role's keys, or are not made."""

import http.client
import json
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from tests.conftest import CONFIG, Gateway

NOVA, TITAN = "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"
ROLE = "arn:aws:iam::111111111111:role/external-s3cret"
OTHER = "arn:aws:iam::222222222222:role/umbrella"
DENIED = "arn:aws:iam::333333333333:role/denied"
ORGANISATIONS = {
    "acme": {"region": "eu-central-1", "role": {"arn": ROLE, "external_id": "s3cret"}},
    "umbrella": {"role": {"arn": OTHER}},
    "limited": {"role": {"arn": DENIED}},
    "closed": {},
}
SETTINGS = {"regions": ["eu-central-1"], "organisations": ORGANISATIONS}


def key_of(arn: str) -> str:
    """The access key id that the local STS gives for a role."""
    return f"ASIA{sha256(arn.encode()).hexdigest()[:16].upper()}"


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    return start_shared(SETTINGS)


def all_calls(local: Any, operation: str) -> list[Any]:
    with urllib.request.urlopen(f"{local.url}/_local/calls", timeout=30) as response:
        return [call for call in json.load(response) if call["operation"] == operation]


def post(client: Any, organisation: str, path: str, **body: Any) -> Any:
    return client.post(path, body, headers=[("openai-organization", organisation)], token="both")


def chat(client: Any, organisation: str) -> Any:
    messages = [{"role": "user", "content": "Hello!"}]
    return post(client, organisation, "chat/completions", model=NOVA, messages=messages)


@pytest.mark.parametrize(
    ("organisation", "region", "arn"), [("acme", "eu-central-1", ROLE), ("umbrella", "us-east-1", OTHER)]
)
def test_organisations_are_told_apart_by_their_keys_and_regions(
    client: Any, local: Any, organisation: str, region: str, arn: str
) -> None:
    assert chat(client, organisation).status == 200
    assert post(client, organisation, "embeddings", model=TITAN, input=["one", "two"]).status == 200
    calls = local.calls()
    assert len(calls) == 3
    assert {(call["access_key"], call["region"]) for call in calls} == {(key_of(arn), region)}
    assert all(call["headers"]["x-amz-security-token"].startswith("token-of-") for call in calls)


def test_a_role_that_cannot_be_assumed_is_a_502_and_never_the_gateways_own(client: Any, local: Any) -> None:
    for path, body in (
        ("chat/completions", {"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]}),
        ("embeddings", {"model": TITAN, "input": "one"}),
        ("embeddings", {"model": TITAN, "input": ["one", "two"]}),
    ):
        response = client.post(path, body, token="limited")
        assert (response.status, response.error["code"]) == (502, "gateway_credentials")
        assert DENIED not in response.error["message"]
    assert local.calls() == []


def test_the_log_names_the_role_that_cannot_be_assumed(client: Any, gateway: Gateway) -> None:
    assert client.chat("Hello!", token="limited").status == 502
    line = gateway.wait_for(rf"WARNING extproc.aws.role_keeper.*the role {DENIED} cannot be assumed: .*AccessDenied")
    assert gateway.log().count(f"the role {DENIED} cannot be assumed") == 1, line


def test_the_list_is_that_of_the_region_as_the_role_may_list_it(client: Any, eventually: Any, local: Any) -> None:
    def models() -> list[str]:
        response = client.exchange("GET", "/oai/v1/models", token="ci")
        return [model["id"] for model in response.json()["data"]]

    application = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
    eventually(lambda: application in models())
    assert client.exchange("GET", "/oai/v1/models", token="limited").status == 200


def test_calls_at_once_assume_a_role_once(
    start_gateway: Any, client_of: Callable[[Gateway], Any], local_of: Any
) -> None:
    """The role that an organisation gets while the gateway runs is assumed with its first calls at the latest."""
    gateway = start_gateway({**SETTINGS, "organisations": {**ORGANISATIONS, "umbrella": {}}})
    client, local = client_of(gateway), local_of(gateway.local_url)
    assert chat(client, "umbrella").status == 200
    assert local.call()["access_key"] not in {key_of(ROLE), key_of(OTHER)}
    local.forget()
    gateway.config_path.write_text(yaml.safe_dump({**CONFIG, **SETTINGS}))
    gateway.wait_for("gateway.yaml has changed")
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: chat(client_of(gateway), "umbrella"), range(8)))
    assert [response.status for response in responses] == [200] * 8
    assert {call["access_key"] for call in local.calls()} == {key_of(OTHER)}
    [assumed] = [call for call in all_calls(local, "AssumeRole") if OTHER in parse_qs(call["body"])["RoleArn"]]
    assert parse_qs(assumed["body"])["RoleSessionName"] == ["oai-extproc"]


# An outage of STS


class Sts:
    """A proxy in front of the local STS, which is `down` when a test wants it."""

    def __init__(self, upstream: int) -> None:
        self.down = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if outer.down.is_set():
                    self.respond(503, b"<ErrorResponse/>")
                    return
                connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=30)
                connection.request("POST", self.path, body, dict(self.headers))
                response = connection.getresponse()
                self.respond(response.status, response.read())
                connection.close()

            def respond(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "text/xml")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


HURRIED = """
import extproc.aws.role_keeper as keeper
import extproc.worker.roles as roles

keeper.SHORTEST_SECONDS = keeper.FIRST_RETRY_SECONDS = keeper.MOST_RETRY_SECONDS = 1.0
keeper.RENEWAL_SECONDS = 7200.0
roles.POLL_SECONDS = 0.2
"""
"""Roles are renewed once a second."""


@pytest.fixture
def sts(bedrock: Any) -> Iterator[Sts]:
    proxy = Sts(bedrock.port)
    yield proxy
    proxy.close()


def test_known_roles_go_on_while_sts_fails_and_others_are_a_502(
    start_gateway: Any, client_of: Any, bedrock: Any, local_of: Any, sts: Sts, tmp_path: Path, eventually: Any
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HURRIED)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    environment = {**bedrock.environment, "AWS_ENDPOINT_URL_STS": sts.url, "PYTHONPATH": path}
    known = {**CONFIG["organisations"], "acme": {"role": {"arn": OTHER}}}
    gateway = start_gateway({"organisations": known}, env=environment, args=["--upstream", "aws"])
    client, local = client_of(gateway), local_of(bedrock.url)
    assert chat(client, "acme").status == 200

    sts.down.set()
    gateway.wait_for(f"the role {OTHER} cannot be assumed: ")
    new = {**known, "umbrella": {"role": {"arn": "arn:aws:iam::222222222222:role/new"}}}
    since = len(gateway.log())
    gateway.config_path.write_text(yaml.safe_dump({**CONFIG, "organisations": new}))
    gateway.wait_for("gateway.yaml has changed", since)
    local.forget()
    assert [chat(client, "acme").status for _ in range(3)] == [200] * 3
    rejected = chat(client, "umbrella")
    assert (rejected.status, rejected.error["code"]) == (502, "gateway_credentials")
    assert {call["access_key"] for call in local.calls()} == {key_of(OTHER)}

    sts.down.clear()
    gateway.wait_for(f"the role {OTHER} works again")
    eventually(lambda: chat(client, "umbrella").status == 200)

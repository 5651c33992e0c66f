"""Organisations in several regions: what is signed for a region reaches that region's endpoint, and no other."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.conftest import CONFIG, Gateway
from tests.envoy.conftest import Site

NOVA, TITAN = "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"
SONNET = "anthropic.claude-sonnet-4-6"
ORGANISATIONS = {"acme": {"region": "eu-central-1"}, "umbrella": {}, "limited": {"region": "us-east-1"}, "closed": {}}
SETTINGS = {"regions": ["eu-central-1", "ap-southeast-2"], "organisations": ORGANISATIONS}


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    return start_shared(SETTINGS)


def post(client: Any, organisation: str, path: str, **body: Any) -> Any:
    return client.post(path, body, headers=[("openai-organization", organisation)], token="both")


def chat(client: Any, organisation: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": "Hello!"}]
    return post(client, organisation, "chat/completions", **{"model": NOVA, "messages": messages, **fields})


def models(client: Any, token: str) -> list[str]:
    response = client.exchange("GET", "/oai/v1/models", token=token)
    assert response.status == 200
    return [model["id"] for model in response.json()["data"]]


@pytest.mark.parametrize(("organisation", "region"), [("acme", "eu-central-1"), ("umbrella", "us-east-1")])
def test_a_chat_is_signed_for_its_organisations_region(client: Any, local: Any, organisation: str, region: str) -> None:
    assert chat(client, organisation).status == 200
    assert local.call()["region"] == region


def test_a_region_may_be_the_gateways_own(client: Any, local: Any) -> None:
    assert client.chat("Hello!", token="limited").status == 200
    assert local.call()["region"] == "us-east-1"


def test_a_stream_is_signed_for_it(client: Any, local: Any) -> None:
    with client.stream("Hello!", token="ci") as stream:
        assert stream.status == 200
    assert local.call()["region"] == "eu-central-1"


def test_a_large_request_is_signed_for_it(client: Any, local: Any) -> None:
    messages = [{"role": "user", "content": "word " * 120_000}]
    assert chat(client, "acme", messages=messages).status == 200
    assert local.call()["region"] == "eu-central-1"


@pytest.mark.parametrize("texts", ["one", ["one", "two", "three"]], ids=["one", "three"])
@pytest.mark.parametrize(("organisation", "region"), [("acme", "eu-central-1"), ("umbrella", "us-east-1")])
def test_embeddings_are_signed_for_it(client: Any, local: Any, texts: Any, organisation: str, region: str) -> None:
    assert post(client, organisation, "embeddings", model=TITAN, input=texts).status == 200
    assert {call["region"] for call in local.calls()} == {region}


def test_a_bare_id_is_served_by_the_profile_of_the_regions_geography(client: Any, local: Any) -> None:
    for organisation, profile in (("acme", f"eu.{SONNET}"), ("umbrella", f"us.{SONNET}")):
        local.forget()
        assert chat(client, organisation, model=SONNET).status == 200
        assert local.call()["model"] == profile


def test_each_region_has_its_own_list(client: Any, eventually: Any) -> None:
    eventually(lambda: f"eu.{SONNET}" in models(client, "ci"))
    assert f"us.{SONNET}" not in models(client, "ci")
    assert chat(client, "acme", model=f"us.{SONNET}").status in (400, 404)


SLOW_LISTS = """
import time

from extproc.worker import process
from extproc.worker.regions import Regions

process.FIRST_LISTING_SECONDS = 60

list_now = Regions._list

def list_slowly(self, region):
    time.sleep(4)
    return list_now(self, region)

Regions._list = list_slowly
"""
"""Lists that take longer than all else at the start, and are waited for all the same: a busy machine is no fault."""


def test_a_worker_that_serves_has_every_regions_list(
    start_gateway: Any, client_of: Callable[[Gateway], Any], tmp_path: Path
) -> None:
    """The first call of a region is by its list, and not by the built-in one, which has no application profiles."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_LISTS)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    ids = models(client_of(start_gateway(SETTINGS, env={"PYTHONPATH": path})), "ci")
    assert "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3d4e5f6" in ids


@pytest.mark.parametrize(
    "headers",
    [
        [("x-oai-region", "eu-central-1")],
        [("x-forwarded-client-cert", "eu-central-1")],
        [("openai-project", "eu-central-1"), ("x-envoy-original-host", "bedrock-runtime.eu-central-1.amazonaws.com")],
    ],
)
def test_no_caller_chooses_a_region(client: Any, local: Any, headers: Any) -> None:
    headers = [("openai-organization", "umbrella"), *headers]
    body = {"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}], "metadata": {"region": "eu-central-1"}}
    assert client.post("chat/completions", body, headers=headers, token="both").status == 200
    assert local.call()["region"] == "us-east-1"


@pytest.mark.parametrize("path", [f"/model/{NOVA}/converse", "/model/x/invoke"])
def test_a_callers_own_path_leads_to_no_region(client: Any, local: Any, path: str) -> None:
    assert client.exchange("POST", path, b'{"messages": []}').status == 404
    assert local.calls() == []


def test_a_region_that_envoy_was_not_started_with_is_an_error_until_a_restart(
    start_gateway: Any, client_of: Callable[[Gateway], Any], local_of: Any
) -> None:
    gateway = start_gateway()
    client, local = client_of(gateway), local_of(gateway.local_url)
    gateway.config_path.write_text(yaml.safe_dump({**CONFIG, **SETTINGS}))
    gateway.wait_for("gateway.yaml has changed")
    assert "`regions` has changed: that needs a restart" in gateway.log()
    rejected = chat(client, "acme")
    assert (rejected.status, rejected.error["code"]) == (503, "gateway_region")
    assert "eu-central-1" in rejected.error["message"]
    assert local.calls() == []
    assert chat(client, "umbrella").status == 200


# An Envoy without the region's route


@pytest.fixture
def without_route(site: Site) -> int:
    """The port of an Envoy that was rendered before `regions` was set, in front of a worker that has it."""
    before = site.run("envoy-config", "--processor", f"unix:{site.folder}/w0.sock", "--listen", "127.0.0.1:65000")
    (site.folder / "gateway.yaml").write_text(yaml.safe_dump({**CONFIG, **SETTINGS}))
    site.worker(f"unix:{site.folder}/w0.sock")
    port = site.port()
    site.envoy(before.replace("port_value: 65000", f"port_value: {port}"))
    return port


def test_without_its_route_a_region_is_closed(without_route: int, exchange: Any, site: Site) -> None:
    """What was signed for a region goes to no other one, whatever Envoy was started with."""
    body = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
    statuses = {}
    for organisation in ("acme", "umbrella"):
        head = (
            "POST /oai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n"
            f"authorization: Bearer {site.tokens['both']}\r\nopenai-organization: {organisation}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        envoy = SimpleNamespace(origin=f"http://127.0.0.1:{without_route}")
        statuses[organisation] = exchange(envoy, head.encode() + body).status
    assert statuses == {"acme": 503, "umbrella": 200}

"""A mesh's overlay as its real controller makes it: it provides what the client tests want.

The tests of tests/clients/ that start no gateway of their own are collected here once more; what follows them is what
is another with a mesh.
"""

import json
import os
import re
from typing import Any

import pytest
from openai import OpenAI

from tests.clients import (
    conftest,
)
from tests.clusters.__main__ import VERSION
from tests.clusters.controller import Controller
from tests.clusters.through_a_mesh import HELLO, NOVA, collect
from tests.deploy.conftest import ROOT

pytestmark = pytest.mark.mesh


client, async_client, local, token = conftest.client, conftest.async_client, conftest.local, conftest.token
weather, clock = conftest.weather, conftest.clock

globals().update(collect())


def test_a_stream_of_a_minute_is_whole(client: OpenAI) -> None:
    """Longer than the timeouts that meshes have by themselves; 120 words, half a second each."""
    text = " ".join(f"word{number}" for number in range(120))
    stream = client.chat.completions.create(
        model=NOVA, messages=[{"role": "user", "content": f"{text} [[local: pace=0.5]]"}], stream=True, timeout=120
    )
    content = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "word119" in content


CALLERS_OWN = {
    "x-forwarded-for": "192.0.2.1",
    "x-forwarded-host": "evil.example",
    "x-envoy-max-retries": "7",
    "x-envoy-decorator-operation": "mine",
    "x-envoy-attempt-count": "9",
    "x-forwarded-client-cert": "signed",
    "x-amz-security-token": "mine",
    "cookie": "a=b",
}


def test_bedrock_sees_what_the_worker_wrote_and_nothing_of_the_callers(client: OpenAI, local: Any, token: str) -> None:
    client.chat.completions.create(model=NOVA, messages=HELLO, extra_headers=CALLERS_OWN)
    (call,) = local.calls()
    assert token not in json.dumps(call)
    foreign = {name for name in call["headers"] if name.startswith(("x-envoy-", "x-forwarded-", "x-b3-", "cookie"))}
    assert foreign == set()
    assert call["headers"]["host"] == "bedrock-runtime.us-east-1.amazonaws.com"
    assert not set(CALLERS_OWN.values()) & set(map(str, call["headers"].values()))


def test_envoy_has_what_the_overlay_is_for(mesh: str, controller: Controller) -> None:
    """Two settings that no call shows: the flag against floods, and the scheme of requests over HTTP/2."""
    configuration = controller.configuration()
    assert '"rejected' not in controller.run("log")
    if mesh == "envoy-gateway":
        assert '"http.max_requests_per_io_cycle": 1' in configuration
        assert '"match_upstream": true' in configuration


def test_the_page_names_the_controllers_version() -> None:
    """Istio's module has no tags: the date is that of its commit."""
    version = os.environ[VERSION]
    if date := re.match(r"v0\.0\.0-(\d{4})(\d\d)(\d\d)", version):
        version = "-".join(date.groups())
    assert f"({version})" in (ROOT / "docs" / "kubernetes.md").read_text()

"""The process that renders Envoy's configuration for `up`."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from extproc import config, envoy_config
from extproc.bedrock.endpoints import Endpoint
from extproc.net import Address
from extproc.proxy import Proxy
from extproc.stack import renderer

PLAN = envoy_config.EnvoyPlan(
    listen=Address("127.0.0.1", 80),
    processors=(Address(path="/worker"),),
    bedrock=Endpoint("https", "bedrock.example.com", 443),
    settings=config.parse(b"organisations: {demo: {models: {allow: ['*nova*']}}}"),
    access_log=True,
    proxy=Proxy(Address("proxy.example.com", 3128), "Basic eDp5"),
)


def test_the_rendering_is_the_same_as_here() -> None:
    with renderer.started() as process:
        rendered = asyncio.run(process.render(PLAN))
    assert rendered == envoy_config.render(PLAN)


def test_a_plan_that_cannot_be_rendered_is_an_error(capfd: Any) -> None:
    broken: Any = None
    with renderer.started() as process, pytest.raises(renderer.RenderError, match="the lines above"):
        asyncio.run(process.render(replace(PLAN, listen=broken)))
    assert "AttributeError" in capfd.readouterr().err


def test_nothing_is_left_when_there_is_no_plan() -> None:
    with renderer.started() as process:
        pass
    assert process._process.returncode is not None

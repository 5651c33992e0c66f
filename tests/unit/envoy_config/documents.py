"""The rendered bootstrap as a document, and its parts."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import yaml

import extproc.envoy_config.bootstrap  # noqa: F401 - imported by itself, so that the messages have their validators
from extproc import config
from extproc.bedrock.endpoints import Endpoint
from extproc.envoy_config import EnvoyPlan, Fragment, render
from extproc.net import Address

AWS = Endpoint("https", "bedrock-runtime.eu-west-1.amazonaws.com", 443)
CORS = "cors: {origins: [https://chat.example.com]}"
Edit = Callable[..., dict[str, Any]]


def every(value: Any, key: str) -> Iterator[Any]:
    """Yield all values under `key`, anywhere."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key:
                yield item
            yield from every(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from every(item, key)


def one(value: Any, key: str) -> Any:
    [section] = every(value, key)
    return section


def cluster(document: Any, name: str) -> Any:
    [section] = [each for each in document["static_resources"]["clusters"] if each["name"] == name]
    return section


def routes(document: Any) -> dict[str, Any]:
    return {route["name"]: route for route in one(document, "routes")}


def one_cluster(route: Any) -> str | None:
    name: str | None = route.get("route", {}).get("cluster")
    return name


SERVED = {"health": Address("127.0.0.1", 8081), "admin": Address(path="/run/oai/admin.sock")}
"""What it takes for there to be `/metrics`."""


def fragment(only: Fragment, settings: str = "{}", **changes: Any) -> list[Any]:
    values = {"listen": Address("127.0.0.1", 8080), "processors": (Address(path="/run/w0.sock"),), "bedrock": AWS}
    plan = EnvoyPlan(**{**values, **changes}, settings=config.parse(settings.encode()))
    parsed: list[Any] = yaml.safe_load(render(plan, only=only))
    assert json.loads(render(plan, only=only, as_json=True)) == parsed
    return parsed

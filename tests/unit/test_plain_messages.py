"""Envoy's configuration is rendered without pydantic's validators, and is the same as with them."""

import json
import pickle
import subprocess
import sys
from typing import Any

from extproc import config
from extproc.bedrock.endpoints import Endpoint
from extproc.envoy_config import CallersTls, EnvoyPlan, ProcessorTls
from extproc.net import Address
from extproc.proxy import Proxy

AWS = Endpoint("https", "bedrock-runtime.eu-west-1.amazonaws.com", 443)
FRANKFURT = Endpoint("https", "bedrock-runtime.eu-central-1.amazonaws.com", 443)
PROXY = Proxy(Address("proxy.example", 3128), "Basic c2VjcmV0")

ALL = """
cors: {origins: [https://chat.example.com]}
limits: {address_requests_per_second: 7, request_bytes: 1000000}
streaming: {keepalive_seconds: 1, idle_seconds: 20}
usage: {ledger: /var/usage.jsonl, otlp: {endpoint: "http://[::1]:4317/"}}
rate_limits: {by: envoy, service: "ratelimit.mesh:8081", domain: mesh, on_store_error: reject}
jwt:
- {issuer: "https://a/", audiences: [api, web], jwks_uri: "https://a.example.com/keys", organisation: org}
- {issuer: "https://b/", audiences: [api], jwks_uri: "http://127.0.0.1:9/keys", organisation: org, refresh_seconds: 60}
"""

CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"bedrock": Endpoint("http", "127.0.0.1", 9000), "memory": 10**9, "files": 1024, "access_log": True},
    {"admin": Address(path="/run/admin.sock"), "health": Address("0.0.0.0", 8081), "elsewhere": {"eu": FRANKFURT}},
    {"proxy": PROXY, "jwks_proxies": {"https://a.example.com": PROXY}, "elsewhere": {"eu": FRANKFURT}},
    {
        "processors": (Address("10.0.0.1", 9001), Address("worker.test", 9001)),
        "processor_tls": ProcessorTls("/tls/ca.pem", "/tls/c.pem", "/tls/k.pem", secrets="/sds"),
        "callers_tls": CallersTls("/tls/c.pem", "/tls/k.pem", "/ca/ca.pem", secrets="/sds"),
    },
)

RENDER = """
import json, pickle, sys
if sys.argv[1] == "validated":
    import extproc.envoy_config.bootstrap
from extproc import envoy_config
rendered = [envoy_config.render(plan) for plan in pickle.load(sys.stdin.buffer)]
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from pydantic.dataclasses import is_pydantic_dataclass
print(json.dumps([is_pydantic_dataclass(Bootstrap), rendered, "grpc" in sys.modules]))
"""


def plan(settings: str, changes: dict[str, Any]) -> EnvoyPlan:
    values = {"listen": Address("127.0.0.1", 8080), "processors": (Address(path="/run/w0.sock"),), "bedrock": AWS}
    return EnvoyPlan(**{**values, **changes}, settings=config.parse(settings.encode()))


def rendered(way: str, plans: list[EnvoyPlan]) -> tuple[bool, list[str]]:
    """Return whether there were validators, and the renderings, from a process that has imported nothing before."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", RENDER, way]
    done = subprocess.run(command, input=pickle.dumps(plans), stdout=subprocess.PIPE, check=True, timeout=120)
    validated, texts, with_grpc = json.loads(done.stdout)
    assert not with_grpc, "it is a fifth of what is imported, for no message of these"
    return validated, texts


def test_a_rendering_is_the_same_with_and_without_validators() -> None:
    plans = [plan(settings, changes) for settings in ("{}", ALL) for changes in CHANGES]
    with_validators, expected = rendered("validated", plans)
    without, texts = rendered("plain", plans)
    assert (with_validators, without) == (True, False)
    assert texts == expected
    assert len({*texts}) == len(plans)


def test_a_field_that_there_is_not_is_an_error_without_validators_too() -> None:
    code = """
from extproc import envoy_config
envoy_config.load()
from envoy_data_plane.envoy.config.core.v3 import Node
Node(id="a", clustre="b")
"""
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=120)
    assert "TypeError: Node.__init__() got an unexpected keyword argument 'clustre'" in done.stderr


def test_other_dataclasses_are_pydantics_as_ever() -> None:
    code = """
from extproc import envoy_config
envoy_config.load()
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
@dataclass
class Checked:
    number: int
print(is_pydantic_dataclass(Checked), Checked("1").number)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    assert done.stdout == "True 1\n"

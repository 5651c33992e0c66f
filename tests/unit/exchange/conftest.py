"""A gateway of two organisations and three models, and exchanges of it."""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from extproc import cl100k_base, config
from extproc.bedrock import capability_table
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.listing import FoundationModel, InferenceProfile
from extproc.bedrock.sigv4 import Signer
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.directives import Forward
from extproc.exchange.events import RequestBody, RequestHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.limits.counters import MemoryCounters
from extproc.tenancy.directory import Directory

NOW = 1_790_000_000.0
TOKEN = "qc_test"
AUTHORITY = "bedrock-runtime.us-east-1.amazonaws.com"

SETTINGS = config.Settings(
    organisations={
        "acme": config.Organisation(),
        "frugal": config.Organisation(models=config.Models(allow=("amazon.*",))),
    },
    tokens=(
        config.Token(name="one", sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), organisations=("acme",)),
        config.Token(name="two", sha256=hashlib.sha256(b"qc_two").hexdigest(), organisations=("acme", "frugal")),
    ),
    limits=config.LimitSettings(request_bytes=4096),
    aws=config.AwsSettings(request_metadata=()),
)
MODELS = (
    FoundationModel("amazon.nova-micro-v1:0", frozenset({"TEXT"}), created=1_700_000_000),
    FoundationModel("amazon.titan-embed-text-v2:0", frozenset({"EMBEDDING"})),
    FoundationModel("anthropic.claude-sonnet-4-6", frozenset({"TEXT"}), inference=frozenset({"INFERENCE_PROFILE"})),
)
PROFILES = (
    InferenceProfile(
        "us.anthropic.claude-sonnet-4-6",
        "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-6",
        ("anthropic.claude-sonnet-4-6",),
    ),
)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(
        settings=SETTINGS,
        directory=Directory(SETTINGS),
        catalogue=Catalogue.build(MODELS, PROFILES, "us-east-1"),
        capabilities=capability_table.BUILT_IN,
        signer=Signer("us-east-1", AUTHORITY),
        authority=AUTHORITY,
        identity=lambda: Credentials("AKID", "secret"),
        detokenise=cl100k_base.decode,
        budget=MemoryBudget(1 << 30, 1 << 30),
        counters=MemoryCounters(time.monotonic_ns),
    )


@pytest.fixture
def exchange(gateway: Gateway) -> Exchange:
    return Exchange(gateway, "0" * 32)


@pytest.fixture
def sent() -> Callable[..., Exchange]:
    """Build an exchange whose chat request, with these fields, is on its way to Bedrock."""

    def send(gateway: Gateway, **more: Any) -> Exchange:
        exchange = Exchange(gateway, "0" * 32)
        headers = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": f"Bearer {TOKEN}"}
        exchange.receive(RequestHeaders(headers | {"x-request-id": "req-1"}), NOW)
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": "amazon.nova-micro-v1:0", "messages": messages} | more
        [forward] = exchange.receive(RequestBody(json.dumps(body).encode()), NOW)
        assert isinstance(forward, Forward)
        return exchange

    return send

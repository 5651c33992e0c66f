"""A model that an organisation may not call is not called under any other spelling of its id either.

Each spelling is tried on each endpoint, under a rule that forbids the model, under one that permits others only, and
under both at once. The response is that for a model that does not exist, and nothing leaves.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from extproc import config
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.listing import FoundationModel, InferenceProfile
from extproc.exchange.directives import Directive, Forward, Reply
from extproc.exchange.events import RequestBody, RequestHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.tenancy.directory import Directory

NOW = 1_790_000_000.0
FORBIDDEN = "anthropic.claude-sonnet-4-6"
"""Of the fixture's catalogue. For embeddings it is `EMBEDDER`."""
EMBEDDER = "cohere.embed-v4:0"
NOVA = "amazon.nova-micro-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012:"
FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/"

SPELLINGS: tuple[str, ...] = (
    # the id itself, and documented ids of the same model
    "{}",
    "us.{}",
    "eu.{}",
    "global.{}",
    "amer.{}",
    FOUNDATION + "{}",
    "arn:aws:bedrock:eu-west-1::foundation-model/{}",
    "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/{}",
    ACCOUNT + "inference-profile/us.{}",
    ACCOUNT + "inference-profile/{}",
    # blanks and invisible characters
    " {}",
    "{} ",
    "\t{}",
    "{}\n",
    "\r\n{}",
    "\u00a0{}",
    "\u2003{}",
    "\u3000{}",
    "\u200b{}",
    "{}\u200b",
    "\u200d{}",
    "\u2060{}",
    "\ufeff{}",
    "\u00ad{}",
    "\u202e{}",
    "\x00{}",
    "{}\x00",
    "\x7f{}",
    # path segments and separators
    "./{}",
    "/{}",
    "{}/",
    "{}/.",
    "{}/converse",
    "{}/../{}",
    "amazon.x/../{}",
    "amazon.nova-micro-v1:0/../{}",
    "amazon.x/%2e%2e/{}",
    "amazon.x%2F..%2F{}",
    "..\\{}",
    "amazon.x\\..\\{}",
    "//{}",
    "model/{}",
    "/model/{}",
    "bedrock/{}",
    "bedrock/converse/{}",
    "bedrock:{}",
    "openai/{}",
    "{}?x=1",
    "{}#x",
    "?{}",
    "#{}",
    "{};x",
    # dots and colons
    ".{}",
    "..{}",
    "{}.",
    "{}:",
    ":{}",
    "x.{}",
    "amazon..{}",
    "us.us.{}",
    "us..{}",
    "neo.{}",
    "amazon.{}",
    "us.amazon.{}",
    "{}:amazon",
    "{}:0:amazon",
    "-{}",
    "_{}",
    # ARNs
    "ARN:aws:bedrock:us-east-1::foundation-model/{}",
    "arn:AWS:bedrock:us-east-1::foundation-model/{}",
    "arn:aws:BEDROCK:us-east-1::foundation-model/{}",
    "arn:aws:bedrock:::foundation-model/{}",
    "arn:aws:bedrock:us-east-1:123456789012:foundation-model/{}",
    FOUNDATION + "amazon.x/../{}",
    FOUNDATION + "./{}",
    "arn:aws-/../x:bedrock:us-east-1:123456789012:inference-profile/{}",
    ACCOUNT + "inference-profile/neo.{}",
    ACCOUNT + "inference-profile/../{}",
    ACCOUNT + "application-inference-profile/{}",
    ACCOUNT + "application-inference-profile/amazon.nova",
    ACCOUNT + "provisioned-model/a1b2c3d4e5f6",
    ACCOUNT + "custom-model/amazon.titan-text-lite-v1/a1b2c3d4e5f6",
    ACCOUNT + "custom-model-deployment/a1b2c3d4e5f6",
    ACCOUNT + "imported-model/a1b2c3d4e5f6",
    ACCOUNT + "prompt/ABCDE12345",
    ACCOUNT + "prompt/ABCDE12345:1",
    ACCOUNT + "prompt-router/amazon.nova",
    ACCOUNT + "default-prompt-router/amazon.nova:1",
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/amazon-nova",
    "a1b2c3d4e5f6",
)

RESPELLINGS = (
    lambda name: "%61" + name[1:] if name[0] == "a" else "%63" + name[1:],
    lambda name: "%2561" + name[1:],
    lambda name: name.replace(".", "%2E"),
    lambda name: name.replace(".", "\u2024"),
    lambda name: name.replace(".", "\uff0e"),
    lambda name: name.replace(".", "\u3002"),
    lambda name: name.replace("-", "\u2010"),
    lambda name: name.replace("e", "\u0435"),
    lambda name: name.replace("o", "\u043e"),
    lambda name: name.replace("e", "e\u0301"),
    lambda name: "".join(chr(ord(letter) + 0xFEE0) for letter in name),
    lambda name: chr(ord(name[0]) + 0xFEE0) + name[1:],
    lambda name: "\u200b".join(name),
    lambda name: name.upper(),
    lambda name: name.title(),
    lambda name: name.replace("i", "\u0131"),
    lambda name: name.partition(".")[0].upper() + "." + name.partition(".")[2],
    lambda name: "US." + name,
    lambda name: "us." + name.upper(),
    lambda name: FOUNDATION + name.upper(),
    lambda name: name.replace(".", "/"),
    lambda name: name.replace(".", ""),
    lambda name: name + ":0:200k",
    lambda name: quote(name, safe="").replace("-", "%2D"),
)


def spellings(name: str) -> list[str]:
    return [*(text.replace("{}", name) for text in SPELLINGS), *(change(name) for change in RESPELLINGS)]


AMAZONS = ("amazon.nova-{}", "us.amazon.nova-{}")
"""Ids of Amazon's, as far as a rule of `allow` matches them; AWS has no such models. A rule of `deny` closes them."""

RULES = {
    "deny": config.Models(deny=("anthropic.*", "cohere.*")),
    "allow": config.Models(allow=("amazon.*", "us.amazon.*")),
    "both": config.Models(allow=("*",), deny=("ANTHROPIC.*", "Cohere.*")),
    "narrow": config.Models(allow=("amazon.*",), deny=("anthropic.*", "cohere.*")),
}

OTHERS = (NOVA, f"us.{NOVA}", f"{FOUNDATION}{NOVA}", f"{ACCOUNT}inference-profile/us.{NOVA}", f"{NOVA}:24k")


def gateway_with(gateway: Gateway, rules: config.Models) -> Gateway:
    organisations = {"acme": config.Organisation(models=rules)}
    gateway.settings = msgspec.structs.replace(gateway.settings, organisations=organisations)
    gateway.directory = Directory(gateway.settings)
    text, vectors = frozenset({"TEXT"}), frozenset({"EMBEDDING"})
    profile_only = frozenset({"INFERENCE_PROFILE"})
    models = (
        FoundationModel(NOVA, text),
        FoundationModel(FORBIDDEN, text, inference=profile_only),
        FoundationModel(EMBEDDER, vectors),
    )
    profiles = [
        InferenceProfile(f"{geography}.{name}", f"{ACCOUNT}inference-profile/{geography}.{name}", (name,))
        for geography in ("us", "global")
        for name in (FORBIDDEN, EMBEDDER, NOVA)
    ]
    gateway.catalogue = Catalogue.build(models, profiles, "us-east-1")
    return gateway


def run_request(gateway: Gateway, method: str, path: str, body: Any = None) -> Directive:
    """Run a whole request and return the directive that ends it."""
    exchange = Exchange(gateway, "0" * 32)
    headers = {":method": method, ":path": path, "authorization": "Bearer qc_test"}
    [directive] = exchange.receive(RequestHeaders(headers, end_of_stream=body is None), NOW)
    if body is not None:
        [directive] = exchange.receive(RequestBody(json.dumps(body).encode()), NOW)
    exchange.close(NOW)
    return directive


def through_chat(gateway: Gateway, name: str) -> Directive:
    body = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
    return run_request(gateway, "POST", "/oai/v1/chat/completions", body)


def through_embeddings(gateway: Gateway, name: str) -> Directive:
    return run_request(gateway, "POST", "/oai/v1/embeddings", {"model": name, "input": "Hello"})


def assert_not_found(directive: Directive, where: str) -> None:
    assert isinstance(directive, Reply), where
    error = json.loads(directive.body)["error"]
    assert (directive.status, error["code"], error["param"]) == (404, "model_not_found", "model"), where


def assert_none_found(gateway: Gateway, names: Sequence[str], through: Any) -> None:
    for name in names:
        assert_not_found(through(gateway, name), name)


@pytest.mark.parametrize("rules", RULES)
def test_chat_with_a_forbidden_model_is_a_404_in_every_spelling(gateway: Gateway, rules: str) -> None:
    names = spellings(FORBIDDEN)
    assert len(set(names)) >= 100
    assert_none_found(gateway_with(gateway, RULES[rules]), names, through_chat)


@pytest.mark.parametrize("rules", ["deny", "both", "narrow"])
def test_an_id_with_another_makers_name_before_it_is_closed_by_any_rule_that_forbids(
    gateway: Gateway, rules: str
) -> None:
    assert_none_found(
        gateway_with(gateway, RULES[rules]), [text.replace("{}", FORBIDDEN) for text in AMAZONS], through_chat
    )


@pytest.mark.parametrize("rules", RULES)
def test_embeddings_of_a_forbidden_model_are_a_404_in_every_spelling(gateway: Gateway, rules: str) -> None:
    assert_none_found(gateway_with(gateway, RULES[rules]), spellings(EMBEDDER), through_embeddings)


@pytest.mark.parametrize("rules", RULES)
def test_a_forbidden_model_is_not_shown_however_it_is_spelled(gateway: Gateway, rules: str) -> None:
    gateway_with(gateway, RULES[rules])
    for name in (*spellings(FORBIDDEN), *spellings(EMBEDDER)):
        for path in (quote(name, safe=""), quote(name), quote(quote(name, safe=""), safe="")):
            assert_not_found(run_request(gateway, "GET", f"/oai/v1/models/{path}"), path)


@pytest.mark.parametrize("rules", RULES)
def test_no_list_has_a_forbidden_model(gateway: Gateway, rules: str) -> None:
    reply = run_request(gateway_with(gateway, RULES[rules]), "GET", "/oai/v1/models")
    assert isinstance(reply, Reply)
    assert {item["id"] for item in json.loads(reply.body)["data"]} == {NOVA, f"us.{NOVA}", f"global.{NOVA}"}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_models_are_served_in_each_known_form(gateway: Gateway, rules: str, name: str) -> None:
    forward = through_chat(gateway_with(gateway, RULES[rules]), name)
    assert isinstance(forward, Forward)
    assert quote(NOVA, safe="") in forward.path


def test_an_invalid_id_is_a_404_even_if_every_model_is_allowed(gateway: Gateway) -> None:
    gateway_with(gateway, config.Models())
    for name in ("", ".", "..", "a/b", "../x", "%2e%2e", "a b", "a\n", "é", "a?b", "a#b", "arn:x/y", "a" * 2049):
        directive = through_chat(gateway, name)
        assert isinstance(directive, Reply), name
        assert directive.status == (400 if name == "" or len(name) > 2048 else 404), name


def test_the_longest_id_that_is_named_in_a_response_is_as_long_as_an_id_may_be(gateway: Gateway) -> None:
    for through in (through_chat, through_embeddings):
        directive = through(gateway_with(gateway, config.Models()), "a" * 3000)
        assert isinstance(directive, Reply)
        assert directive.status == 400
        assert len(directive.body) < 1024

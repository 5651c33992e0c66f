"""The life of a key, by the commands, while the gateway runs: what it may call, its successor, its end."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

CLAUDE, NOVA, TITAN = "anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"

Command = Callable[..., str]


@pytest.fixture(scope="module")
def running(start_shared: Any) -> Any:
    return start_shared({"endpoints": {"responses": True}})


@pytest.fixture(scope="module")
def token(running: Any) -> Command:
    """Run a command of `token` on the running gateway's file."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "extproc", "token", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def create(running: Any, client_of: Any, token: Command, eventually: Any) -> Callable[..., Any]:
    """Make a key for an organisation, and return its client once the gateway knows it."""

    def make(name: str, *options: str, organisation: str = "acme") -> Any:
        arguments = ("--append", str(running.config_path), "--name", name, "--organisation", organisation)
        client = replace(client_of(running), tokens={"ci": token("create", *arguments, *options)})
        eventually(lambda: listed(client).status != 401)
        return client

    return make


def listed(client: Any) -> Any:
    return client.exchange("GET", "/oai/v1/models")


def ids(client: Any) -> set[str]:
    return {model["id"] for model in listed(client).json()["data"]}


def test_a_keys_models_are_cut_by_it_and_by_its_organisation(
    running: Any, client_of: Any, create: Callable[..., Any]
) -> None:
    narrow = create("claude only", "--models", "anthropic.*")
    everything = ids(client_of(running))
    assert {CLAUDE, NOVA} <= everything
    unnamed = {each for each in everything if each.startswith("arn:")}  # what is behind them is not in their names
    assert ids(narrow) - unnamed == {each for each in everything - unnamed if "anthropic." in each}
    assert narrow.chat("Hello!", model=CLAUDE).status == 200
    assert narrow.exchange("GET", f"/oai/v1/models/{CLAUDE}").status == 200
    for rejected in (narrow.chat("Hello!", model=NOVA), narrow.exchange("GET", f"/oai/v1/models/{NOVA}")):
        assert (rejected.status, rejected.error["code"]) == (404, "model_not_found")


def test_a_key_permits_nothing_that_its_organisation_does_not(
    running: Any, client_of: Any, create: Callable[..., Any]
) -> None:
    limited = replace(client_of(running), tokens={"ci": running.tokens["limited"]})
    wide = create("wide", "--models", "*", organisation="limited")
    assert ids(wide) == ids(limited)
    assert create("other", "--models", "anthropic.*", organisation="limited").chat("Hi", model=CLAUDE).status == 404


CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat("Hello!"),
    "embeddings": lambda client: client.embed("a", model=TITAN),
    "models": listed,
    "responses": lambda client: client.post("responses", {"model": NOVA, "input": "Hello!"}),
}
"""A call of each scope."""


@pytest.mark.parametrize("scope", CALLS)
def test_a_key_with_a_scope_makes_the_calls_of_that_scope_only(
    local_of: Any, running: Any, create: Callable[..., Any], scope: str
) -> None:
    client = create(f"only {scope}", "--scopes", scope)
    assert CALLS[scope](client).status == 200
    before = len(local_of(running.local_url).calls())
    for other, call in CALLS.items():
        if other != scope:
            response = call(client)
            assert (response.status, response.error["code"]) == (403, "insufficient_scope")
            assert f"Missing scopes: {other}. It has: {scope}." in response.error["message"]
    assert len(local_of(running.local_url).calls()) == before


def test_a_key_for_usage_alone_makes_no_call(create: Callable[..., Any]) -> None:
    client = create("only usage", "--scopes", "usage")
    for call in CALLS.values():
        response = call(client)
        assert (response.status, response.error["code"]) == (403, "insufficient_scope")
        assert "It has: usage." in response.error["message"]
    assert client.exchange("GET", f"/oai/v1/models/{NOVA}").status == 403


def test_a_key_for_few_features_has_no_others_and_neither_has_its_successor(
    running: Any, local_of: Any, create: Callable[..., Any], token: Command, eventually: Any
) -> None:
    first = create("no tools", "--features", "images,reasoning")
    second = replace(
        first, tokens={"ci": token("rotate", "no tools", "--config", str(running.config_path), "--overlap", "7d")}
    )
    eventually(lambda: listed(second).status == 200)
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    local = local_of(running.local_url)
    for client in (first, second):
        before = len(local.calls())
        response = client.chat("Hello!", **tools)
        assert (response.status, response.error["code"], response.error["param"]) == (
            403,
            "feature_not_allowed",
            "tools",
        )
        assert len(local.calls()) == before
        assert client.chat("Hello!").status == 200


def test_a_missing_scope_is_rejected_before_any_body_is_read(create: Callable[..., Any]) -> None:
    client = create("reader", "--scopes", "models")
    headers = [("content-type", "application/json"), ("content-length", "1000000")]
    assert client.exchange("POST", "/oai/v1/chat/completions", headers=headers).status == 403
    assert client.exchange("GET", f"/oai/v1/models/{NOVA}").status == 200


def test_a_revoked_key_ends_and_no_other_does(
    running: Any, client_of: Any, local_of: Any, create: Callable[..., Any], token: Command, eventually: Any
) -> None:
    client = create("to be revoked")
    with client.stream("Count to 9. [[local: hold]]") as stream:
        assert stream.delta()
        token("revoke", "to be revoked", "--config", str(running.config_path))
        eventually(lambda: listed(client).status == 401)
        local_of(running.local_url).release()
        assert stream.rest()[-1] == "[DONE]"  # a call that has begun is finished
    assert "has been revoked" in listed(client).error["message"]
    assert listed(client_of(running)).status == 200


def test_a_rotated_key_works_beside_its_successor_until_it_ends(
    running: Any, create: Callable[..., Any], token: Command, eventually: Any
) -> None:
    old = create("rotated", "--scopes", "models", "--models", "anthropic.*")
    permitted = ids(old)
    arguments = ("rotate", "rotated", "--config", str(running.config_path), "--overlap")
    new = replace(old, tokens={"ci": token(*arguments, "7d")})
    eventually(lambda: listed(new).status == 200)
    assert ids(old) == ids(new) == permitted
    assert new.chat("Hello!").status == 403
    newest = replace(old, tokens={"ci": token(*arguments, "0d")})
    eventually(lambda: listed(new).status == 401)
    assert "`rotated-until-" in listed(new).error["message"]
    assert [listed(each).status for each in (old, newest)] == [200, 200]
    shown = json.loads(token("list", "--json", "--config", str(running.config_path)))
    states = {each["state"] for each in shown if each["name"].startswith("rotated-until-")}
    assert states == {"active", "expired"}

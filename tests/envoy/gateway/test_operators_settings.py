"""What gateway.yaml changes about requests: fields that are passed over, projects, and caching."""

from typing import Any

import pytest

IGNORED = ["chat_template_kwargs", "tools[].function.input_examples", "stream_options.continuous_usage_stats", "tools"]
CALLED = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
PROJECT = "arn:aws:bedrock:us-east-1:123456789012:project/proj_1a2b"
LARGE = "word " * 120_000
"""A text that makes a request large enough for the process that translates such requests."""


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    organisations = {"acme": {"project": PROJECT}, "umbrella": {"caching": "implicit"}, "limited": {}, "closed": {}}
    return start_shared({"compat": {"ignore_fields": IGNORED}, "organisations": organisations})


def named(response: Any) -> list[str]:
    """Return the fields that the response names as ignored."""
    return list(filter(None, (response.headers.get("x-oai-ignored-params", "")).split(", ")))


# compat.ignore_fields


@pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])
def test_an_unknown_field_of_the_list_is_left_out_and_named(client: Any, local: Any, text: str) -> None:
    response = client.chat(text, chat_template_kwargs={"enable_thinking": False}, seed=1)
    assert (response.status, set(named(response))) == (200, {"chat_template_kwargs", "seed"})
    [call] = local.calls()
    assert "chat_template_kwargs" not in str(call["body"])


def test_one_within_a_list_is_left_out_of_each_element(client: Any, local: Any) -> None:
    tools = [
        {"type": "function", "function": {**CALLED["function"], "name": name, "input_examples": [{}]}}
        for name in ("a", "b")
    ]
    response = client.chat("Hello", tools=tools, messages=[{"role": "user", "content": "Hi", "index": 1}])
    assert response.status == 200
    assert named(response) == ["tools[].function.input_examples", "messages[].index"]
    [call] = local.calls()
    assert [tool["toolSpec"]["name"] for tool in call["body"]["toolConfig"]["tools"]] == ["a", "b"]


def test_a_stream_names_it_too(client: Any) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    with client.stream("Hello", stream_options=options) as stream:
        assert stream.headers["x-oai-ignored-params"] == "stream_options.continuous_usage_stats"


@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "two"])
def test_embeddings_are_no_exception(client: Any, texts: Any) -> None:
    response = client.embed(texts, chat_template_kwargs={"a": 1})
    assert (response.status, named(response)) == (200, ["chat_template_kwargs"])


def test_other_unknown_fields_are_rejected_as_before(client: Any, local: Any) -> None:
    response = client.chat("Hello", chat_template_kwargs={}, chat_template="x")
    assert (response.status, response.error["param"]) == (400, "chat_template")
    assert local.calls() == []


def test_a_known_field_of_the_list_keeps_its_meaning(client: Any, local: Any) -> None:
    assert client.chat("Hello", tools=[CALLED], chat_template_kwargs={"a": 1}).status == 200
    [call] = local.calls()
    assert call["body"]["toolConfig"]["tools"]


# organisations.<name>.project


@pytest.mark.parametrize("text", ["Hello", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_chat_belongs_to_the_project_of_its_organisation(client: Any, local: Any, text: str, stream: bool) -> None:
    if stream:
        with client.stream(text) as response:
            assert response.status == 200
    else:
        assert client.chat(text).status == 200
    [call] = local.calls()
    assert call["body"]["projectIdentifier"] == PROJECT


@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "two"])
def test_so_do_embeddings_by_a_header(client: Any, local: Any, texts: Any) -> None:
    assert client.embed(texts).status == 200
    for call in local.calls():
        assert call["headers"]["x-amzn-bedrock-projectidentifier"] == PROJECT


@pytest.mark.parametrize("call", ["chat", "embed"])
def test_an_organisation_without_one_names_none_and_callers_cannot(client: Any, local: Any, call: str) -> None:
    chat = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hi"}]}
    embed = {"model": "amazon.titan-embed-text-v2:0", "input": "Hi"}
    path, body = ("chat/completions", chat) if call == "chat" else ("embeddings", embed)
    headers = [("openai-organization", "umbrella"), ("x-amzn-bedrock-projectidentifier", "other")]
    assert client.post(path, body, headers=headers, token="both").status == 200
    [seen] = local.calls()
    assert "projectIdentifier" not in seen["body"]
    assert "x-amzn-bedrock-projectidentifier" not in seen["headers"]


# organisations.<name>.caching


def cached(body: Any) -> list[Any]:
    """Return the `ttl` of each cache point: of the instructions, then of the turns."""
    blocks = [*body.get("system", ()), *(block for turn in body["messages"] for block in turn["content"])]
    return [block["cachePoint"].get("ttl") for block in blocks if "cachePoint" in block]


@pytest.mark.parametrize(
    ("organisation", "options", "points", "ignored"),
    [
        ("umbrella", None, [None, None], []),
        ("umbrella", {"mode": "implicit"}, [None, None], []),
        ("umbrella", {"ttl": "30m"}, ["1h", "1h"], []),
        ("umbrella", {"mode": "explicit"}, [], []),
        ("acme", None, [], []),
        ("acme", {"mode": "explicit"}, [], []),
        ("acme", {"mode": "implicit"}, [], ["prompt_cache_options.mode"]),
        ("acme", {"ttl": "30m"}, [], ["prompt_cache_options.ttl"]),
    ],
)
def test_prompts_are_cached_without_marks_where_an_organisation_has_it_so(
    client: Any, local: Any, organisation: str, options: Any, points: Any, ignored: Any
) -> None:
    body = {
        "model": "anthropic.claude-sonnet-4-6",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "prompt_cache_options": options,
    }
    response = client.post("chat/completions", body, headers=[("openai-organization", organisation)], token="both")
    assert (response.status, named(response)) == (200, ignored)
    [call] = local.calls()
    assert cached(call["body"]) == points

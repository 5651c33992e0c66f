"""`features` of organisations and of tokens: what a request may not use is a 403 that names the field, and no call."""

import base64
import hashlib
from typing import Any

import pytest
import yaml

from extproc.config.features import NAMES

MICRO, LITE = "amazon.nova-micro-v1:0", "amazon.nova-lite-v1:0"
CLAUDE, VOXTRAL = "anthropic.claude-sonnet-4-6", "mistral.voxtral-small-24b-2507"
SEARCHING = "us.amazon.nova-2-lite-v1:0"


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


PNG = "data:image/png;base64," + encoded(b"\x89PNG\r\n\x1a\n" + bytes(100))
MP4 = "data:video/mp4;base64," + encoded(bytes(4) + b"ftypisom" + bytes(100))
SOUND = {"data": encoded(bytes(100)), "format": "wav"}
PAGE = encoded(b"A page of text.")
UNREACHABLE = "https://127.0.0.1:1/cat.png"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}


def with_part(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}, part]}]}


def image(url: str) -> dict[str, Any]:
    return with_part({"type": "image_url", "image_url": {"url": url}})


def of_input(part: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}, part]}]}


PART, INPUT = "messages[0].content[1]", "input[0].content[1]"

CHATS: list[tuple[str, str, dict[str, Any], str]] = [
    ("tools", MICRO, {"tools": [{"type": "function", "function": FUNCTION}]}, "tools"),
    ("tools", MICRO, {"functions": [FUNCTION]}, "functions"),
    ("web_search", SEARCHING, {"web_search_options": {}}, "web_search_options"),
    ("images", LITE, image(PNG), f"{PART}.type"),
    ("documents", LITE, with_part({"type": "file", "file": {"file_data": PAGE, "filename": "a.txt"}}), f"{PART}.type"),
    ("audio", VOXTRAL, with_part({"type": "input_audio", "input_audio": SOUND}), f"{PART}.type"),
    ("video", LITE, with_part({"type": "video_url", "video_url": {"url": MP4}}), f"{PART}.type"),
    ("fetch", LITE, image(UNREACHABLE), f"{PART}.image_url.url"),
    ("s3", LITE, image("s3://bucket/cat.png"), f"{PART}.image_url.url"),
    (
        "s3",
        LITE,
        with_part({"type": "file", "file": {"file_data": "s3://bucket/a.txt", "filename": "a.txt"}}),
        f"{PART}.file.file_data",
    ),
    (
        "s3",
        LITE,
        with_part({"type": "video_url", "video_url": {"url": "s3://bucket/a.mp4"}}),
        f"{PART}.video_url.url",
    ),
    ("reasoning", CLAUDE, {"reasoning_effort": "low"}, "reasoning_effort"),
    ("reasoning", CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
    ("structured_output", MICRO, {"response_format": {"type": "json_object"}}, "response_format"),
    (
        "structured_output",
        CLAUDE,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        "response_format",
    ),
    (
        "model_fields",
        CLAUDE,
        {"additionalModelRequestFields": {"anthropic_beta": [], "anthropic_version": "bedrock-2023-05-31"}},
        "additionalModelRequestFields.anthropic_version",
    ),
]
"""A feature, a model that has it, fields of a chat that use it, and the field that the error names."""

RESPONSES: list[tuple[str, str, dict[str, Any], str]] = [
    ("tools", MICRO, {"tools": [{"type": "function", **FUNCTION}]}, "tools"),
    ("web_search", SEARCHING, {"tools": [{"type": "web_search"}]}, "tools"),
    ("images", LITE, of_input({"type": "input_image", "image_url": PNG}), f"{INPUT}.type"),
    ("documents", LITE, of_input({"type": "input_file", "file_data": PAGE, "filename": "a.txt"}), f"{INPUT}.type"),
    ("audio", VOXTRAL, of_input({"type": "input_audio", "input_audio": SOUND}), f"{INPUT}.type"),
    ("fetch", LITE, of_input({"type": "input_image", "image_url": UNREACHABLE}), f"{INPUT}.image_url"),
    ("s3", LITE, of_input({"type": "input_image", "image_url": "s3://bucket/cat.png"}), f"{INPUT}.image_url"),
    ("reasoning", CLAUDE, {"reasoning": {"effort": "low"}}, "reasoning.effort"),
    ("reasoning", CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
    ("structured_output", MICRO, {"text": {"format": {"type": "json_object"}}}, "text.format"),
    (
        "structured_output",
        CLAUDE,
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
        "text.format",
    ),
    (
        "model_fields",
        CLAUDE,
        {"additionalModelRequestFields": {"anthropic_version": "bedrock-2023-05-31"}},
        "additionalModelRequestFields.anthropic_version",
    ),
]
"""The same of a Responses request, which has no videos."""

LARGE = "word " * 120_000
"""A text that makes a request large enough for the process that translates such requests."""


def without(*names: str) -> list[str]:
    return [name for name in NAMES if name not in names]


def token(name: str, **fields: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(secret_of(name).encode()).hexdigest()
    return {"name": name, "sha256": sha256, "organisations": [name], **fields}


def secret_of(name: str) -> str:
    return f"qc_{name:_<43}"


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    organisations = {"all": {}, "listed": {"features": [*NAMES]}, "texts": {"features": []}}
    organisations |= {f"no-{name}": {"features": without(name)} for name in NAMES}
    tokens = [
        *(token(name) for name in organisations),
        token("narrow", organisations=["no-images"], features=["images", "structured_output"]),
        token("narrow-all", organisations=["all"], features=["images"]),
    ]
    more = {"endpoints": {"responses": True}, "media": {"s3": True}}
    return start_shared({"organisations": organisations, "tokens": tokens, **more})


def bearer(name: str) -> dict[str, Any]:
    return {"token": None, "headers": [("authorization", f"Bearer {secret_of(name)}")]}


def chat(client: Any, name: str, model: str = MICRO, **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2048, **fields}
    return client.post("chat/completions", body, **bearer(name))


def respond(client: Any, name: str, model: str = MICRO, *, path: str = "responses", **fields: Any) -> Any:
    return client.post(path, {"model": model, "input": "Hello", "max_output_tokens": 2048, **fields}, **bearer(name))


def check_rejected(response: Any, feature: str, param: str | None) -> None:
    error = response.error
    assert (response.status, error["code"], error["param"]) == (403, "feature_not_allowed", param), error
    assert f"`{feature}`" in error["message"]


def check_permitted(response: Any, feature: str) -> None:
    if feature == "fetch":  # it was tried, and nothing is there
        assert (response.status, response.error["param"].endswith(("image_url.url", "image_url"))) == (400, True)
    else:
        assert response.status == 200, response


def test_there_is_a_case_for_each_feature() -> None:
    assert {case[0] for case in CHATS} == {*NAMES} - {"responses"}
    assert {case[0] for case in RESPONSES} == {*NAMES} - {"responses", "video"}


@pytest.mark.parametrize(("feature", "model", "fields", "param"), CHATS)
def test_a_chat_with_what_is_not_permitted_is_rejected(
    client: Any, local: Any, feature: str, model: str, fields: Any, param: str
) -> None:
    check_rejected(chat(client, f"no-{feature}", model, **fields), feature, param)
    assert local.calls() == []
    for name in ("all", "listed"):
        check_permitted(chat(client, name, model, **fields), feature)


@pytest.mark.parametrize(("feature", "model", "fields", "param"), RESPONSES)
@pytest.mark.parametrize("path", ["responses", "responses/input_tokens"])
def test_so_is_a_request_of_responses(
    client: Any, local: Any, path: str, feature: str, model: str, fields: Any, param: str
) -> None:
    check_rejected(respond(client, f"no-{feature}", model, path=path, **fields), feature, param)
    assert local.calls() == []
    if path == "responses":
        check_permitted(respond(client, "listed", model, **fields), feature)


def test_the_endpoint_itself_is_a_feature(client: Any, local: Any) -> None:
    check_rejected(respond(client, "no-responses"), "responses", None)
    check_rejected(respond(client, "no-responses", path="responses/input_tokens"), "responses", None)
    assert local.calls() == []
    assert chat(client, "no-responses").status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_large_request_is_rejected_likewise(client: Any, local: Any, stream: bool) -> None:
    messages = [{"role": "user", "content": LARGE}]
    response = chat(client, "no-tools", messages=messages, functions=[FUNCTION], stream=stream)
    check_rejected(response, "tools", "functions")
    response = respond(client, "no-tools", input=LARGE, tools=[{"type": "function", **FUNCTION}])
    check_rejected(response, "tools", "tools")
    assert local.calls() == []
    assert chat(client, "no-tools", messages=messages).status == 200


def test_texts_are_no_feature_and_neither_is_what_is_switched_off(client: Any, local: Any) -> None:
    off: dict[str, Any] = {"reasoning_effort": "none", "tools": [], "response_format": {"type": "text"}}
    assert chat(client, "texts", **off).status == 200
    assert chat(client, "texts", CLAUDE, thinking={"type": "disabled"}).status == 200
    assert chat(client, "texts", CLAUDE, additionalModelRequestFields={"anthropic_beta": []}).status == 200
    past: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "Call f."}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    assert chat(client, "texts", messages=past).status == 200
    assert all("toolConfig" not in call["body"] for call in local.calls())


def test_past_messages_count_too(client: Any) -> None:
    past = [*image(PNG)["messages"], {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Sure?"}]
    check_rejected(chat(client, "texts", LITE, messages=past), "images", f"{PART}.type")


@pytest.mark.parametrize(
    "url", [r"\u0073\u0033\u003a\u002f\u002fbucket/cat.png", r"s3:\/\/bucket\/cat.png"], ids=["letters", "slashes"]
)
def test_an_escape_hides_nothing(client: Any, url: str) -> None:
    content = f'[{{"type": "text", "text": "Hi"}}, {{"type": "image_url", "image_url": {{"url": "{url}"}}}}]'
    body = f'{{"model": "{LITE}", "messages": [{{"role": "user", "content": {content}}}]}}'.encode()
    response = client.post("chat/completions", body, **bearer("no-s3"))
    check_rejected(response, "s3", f"{PART}.image_url.url")


def test_a_token_narrows_and_never_widens(client: Any) -> None:
    check_rejected(chat(client, "narrow", LITE, **image(PNG)), "images", f"{PART}.type")
    tools = {"tools": [{"type": "function", "function": FUNCTION}]}
    check_rejected(chat(client, "narrow", **tools), "tools", "tools")
    assert chat(client, "no-images", **tools).status == 200
    assert chat(client, "narrow", response_format={"type": "json_object"}).status == 200
    assert chat(client, "narrow-all", LITE, **image(PNG)).status == 200
    check_rejected(chat(client, "narrow-all", **tools), "tools", "tools")


def test_lists_of_models_and_embeddings_are_the_same_for_all(client: Any) -> None:
    lists = [client.exchange("GET", "/oai/v1/models", **bearer(name)) for name in ("all", "texts")]
    assert [each.status for each in lists] == [200, 200]
    assert lists[0].json() == lists[1].json()
    body = {"model": "amazon.titan-embed-text-v2:0", "input": "Hello"}
    assert client.post("embeddings", body, **bearer("texts")).status == 200


def test_a_reload_changes_them(gateway: Any, client: Any, eventually: Any) -> None:
    tools = {"tools": [{"type": "function", "function": FUNCTION}]}
    settings = yaml.safe_load(gateway.config_path.read_text())
    settings["organisations"]["all"] = {"features": ["images"]}
    gateway.config_path.write_text(yaml.safe_dump(settings))
    eventually(lambda: chat(client, "all", **tools).status == 403)

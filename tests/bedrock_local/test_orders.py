"""Orders in the text that spoil a response or add to it, with and without a stream."""

import http.client
import json

import pytest
from botocore.eventstream import EventStreamBuffer

NOVA = "/model/amazon.nova-lite-v1%3A0"
TITAN = "/model/amazon.titan-embed-text-v2%3A0/invoke"


def request_body(text):
    return {"messages": [{"role": "user", "content": [{"text": text}]}]}


# --- responses without a stream --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ("exception=throttlingException after=3", (429, "ThrottlingException", "throttlingException was ordered.")),
        ("exception=modelStreamErrorException", (424, "ModelStreamErrorException", "modelStreamErrorException was")),
        ("exception=internalServerException message=Oops", (500, "InternalServerException", "Oops")),
        ("exception=somethingElse", (400, "SomethingElse", "somethingElse was ordered.")),
        ('error=internalFailure message="It broke"', (500, "InternalFailure", "It broke")),
    ],
)
@pytest.mark.parametrize("kind", ["chat", "embedding"])
def test_a_failure_of_a_stream_is_an_error_without_one(local, order, error, kind):
    text = f"hello [[local: {order}]]"
    response = local.converse(request_body(text)) if kind == "chat" else local.post(TITAN, {"inputText": text})
    status, name, message = response.error
    assert (status, name) == error[:2]
    assert message.startswith(error[2])


@pytest.mark.parametrize(
    "order",
    [
        "cite=http://[x",
        "cite=a-page",
        'status=400 type="A\r\nx-forged: 1"',
        'exception="two words"',
        f"error={'a' * 70_000}",
        f"error=internalFailure message={'a' * 70_000}",
    ],
    ids=lambda order: order[:30],
)
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_an_order_that_no_wire_could_carry_is_rejected(local, order, operation):
    status, name, message = local.post(f"{NOVA}/{operation}", request_body(f"hello [[local: {order}]]")).error
    assert (status, name) == (400, "ValidationException")
    assert message.startswith("bedrock_local cannot read the value of the directive")


@pytest.mark.parametrize(
    ("path", "body"), [(f"{NOVA}/converse", request_body), (TITAN, lambda text: {"inputText": text})]
)
def test_a_whole_response_that_is_cut(local, path, body):
    with pytest.raises(http.client.IncompleteRead) as caught:
        local.post(path, body("hello [[local: cut after=5]]"))
    assert len(caught.value.partial) == 5
    with pytest.raises(http.client.RemoteDisconnected):
        local.post(path, body("hello [[local: cut]]"))


@pytest.mark.parametrize(
    ("path", "body"), [(f"{NOVA}/converse", request_body), (TITAN, lambda text: {"inputText": text})]
)
@pytest.mark.parametrize("order", ["end after=9", "corrupt after=9", "end", "corrupt after=100000"])
def test_a_whole_response_that_is_no_json(local, path, body, order):
    response = local.post(path, body(f"hello [[local: {order}]]"))
    assert response.status == 200
    with pytest.raises(ValueError):
        json.loads(response.body)


def test_a_block_of_an_unknown_kind(converse):
    first, second = converse("hello [[local: unknown]]")["output"]["message"]["content"]
    assert first == {"SDK_UNKNOWN_MEMBER": {"name": "blockOfTheFuture"}}
    assert second["text"].startswith("You said")


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "frames"), [(0, 0), (3, 3), (1000, 8)])
def test_a_stream_that_just_ends(local, after, frames):
    response = local.post(f"{NOVA}/converse-stream", request_body(f"count to 4 [[local: end after={after}]]"))
    assert response.status == 200
    buffer = EventStreamBuffer()
    buffer.add_data(response.body)
    kinds = [message.headers[":event-type"] for message in buffer]
    assert len(kinds) == frames
    assert ("messageStop" in kinds) == (after == 1000)


def test_a_stream_that_ends_before_its_metadata(local):
    buffer = EventStreamBuffer()
    buffer.add_data(local.post(f"{NOVA}/converse-stream", request_body("count to 4 [[local: nometadata]]")).body)
    kinds = [message.headers[":event-type"] for message in buffer]
    assert kinds[-1] == "messageStop"
    assert "metadata" not in kinds


def test_a_response_without_its_usage(local, converse):
    assert converse("hello [[local: nousage]]").keys() >= {"output", "stopReason", "metrics"}
    assert "usage" not in converse("hello [[local: nousage]]")
    buffer = EventStreamBuffer()
    buffer.add_data(local.post(f"{NOVA}/converse-stream", request_body("count to 4 [[local: nousage]]")).body)
    *_, last = buffer
    assert last.headers[":event-type"] == "metadata"
    assert "metrics" in json.loads(last.payload)
    assert "usage" not in json.loads(last.payload)


def test_a_prompt_router(converse):
    response = converse("hello [[local: router=amazon.nova-lite-v1:0]]")
    assert response["trace"]["promptRouter"]["invokedModelId"].endswith("::foundation-model/amazon.nova-lite-v1:0")


# --- texts that need reading ------------------------------------------------------------------------------------------


def test_a_thought_inside_the_text(converse, wire):
    [block] = converse('hello [[local: think="I know this."]]')["output"]["message"]["content"]
    assert block["text"].startswith('<thinking> I know this.</thinking>\nYou said: "hello"')
    tools = {"tools": [wire.tool("get_weather")], "toolChoice": {"any": {}}}
    thought, call = converse("the weather [[local: think=Hm]]", toolConfig=tools)["output"]["message"]["content"]
    assert thought == {"text": "<thinking> Hm</thinking>\n"}
    assert "toolUse" in call


def test_a_text_in_a_code_fence(converse):
    [block] = converse("count to 2 [[local: fence]]")["output"]["message"]["content"]
    assert block["text"] == "```json\n1 2\n```\n"


def test_an_image(local, converse):
    *_, block = converse("hello [[local: image]]")["output"]["message"]["content"]
    assert block["image"]["format"] == "png"
    assert block["image"]["source"]["bytes"].startswith(b"\x89PNG")
    stream = local.runtime.converse_stream(
        modelId="amazon.nova-lite-v1:0", messages=request_body("hello [[local: image]]")["messages"]
    )["stream"]
    pieces = [
        event["contentBlockDelta"]["delta"]["image"]["source"]["bytes"]
        for event in stream
        if "image" in event.get("contentBlockDelta", {"delta": {}})["delta"]
    ]
    assert len(pieces) > 1
    assert b"".join(pieces) == block["image"]["source"]["bytes"]


# --- tool calls ------------------------------------------------------------------------------------------------------


def tool_request(order, wire):
    tools = [wire.tool(name, city={"type": "string"}) for name in ("get_weather", "look")]
    return {"messages": [wire.user(f"hello [[local: {order}]]")], "toolConfig": {"tools": tools}}


@pytest.mark.parametrize(
    ("order", "arguments"),
    [
        (
            'call=look arguments={"city": "Paris", "depth": {"a": [1, [2] ]}} pace=0',
            {"city": "Paris", "depth": {"a": [1, [2]]}},
        ),
        ('pace=0 arguments={"no": "}} \\u00e9"} call=look', {"no": "}} é"}),
        ("call=look arguments={}", {}),
    ],
)
def test_an_ordered_call(local, wire, order, arguments):
    request = tool_request(order, wire)
    response = local.runtime.converse(modelId=wire.claude, **request)
    assert response["stopReason"] == "tool_use"
    words, call = response["output"]["message"]["content"]
    assert words == {"text": "Calling look."}
    assert (call["toolUse"]["name"], call["toolUse"]["input"]) == ("look", arguments)
    stream = local.runtime.converse_stream(modelId=wire.claude, **request)["stream"]
    deltas = [event["contentBlockDelta"]["delta"] for event in stream if "contentBlockDelta" in event]
    written = "".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta)
    assert json.loads(written or "{}") == arguments


def test_an_ordered_call_without_arguments_has_some_that_the_schema_accepts(local, wire):
    response = local.runtime.converse(modelId=wire.claude, **tool_request("call=look", wire))
    *_, call = response["output"]["message"]["content"]
    assert list(call["toolUse"]["input"]) == ["city"]


@pytest.mark.parametrize(
    "order",
    [
        "call=other",
        "call",
        "arguments={}",
        "call=look arguments=x",
        "call=look arguments={",
        'call=look arguments={"a": NaN}',
        'call=look arguments={"a": 1e999}',
        'call=look arguments={"a": "\\ud800"}',
        "call=look arguments=" + '{"a":' * 5000,
    ],
    ids=lambda order: order[:40],
)
def test_a_call_that_cannot_be_ordered(local, wire, order):
    status, name, message = local.converse(tool_request(order, wire)).error
    assert (status, name) == (400, "ValidationException")
    assert message.startswith("bedrock_local ")


# --- citations, tiers, the cache -------------------------------------------------------------------------------------

CITATION = {
    "title": "A page of example.com",
    "sourceContent": [{"text": "1 2"}],
    "location": {"web": {"url": "https://example.com/a?b=c", "domain": "example.com"}},
}


def test_an_ordered_citation(converse):
    cited, plain = converse("count to 4 [[local: texts=2 cite=https://example.com/a?b=c]]")["output"]["message"][
        "content"
    ]
    assert cited == {"citationsContent": {"content": [{"text": "1 2"}], "citations": [CITATION]}}
    assert plain == {"text": " 3 4"}


def test_an_ordered_citation_in_a_stream(local, wire):
    text = "count to 4 [[local: texts=2 cite=https://example.com/a?b=c]]"
    stream = local.runtime.converse_stream(modelId=wire.nova, messages=[wire.user(text)])["stream"]
    response = [event["contentBlockDelta"] for event in stream if "contentBlockDelta" in event]
    assert [(delta["contentBlockIndex"], next(iter(delta["delta"]))) for delta in response] == [
        (0, "text"),
        (0, "text"),
        (0, "citation"),
        (1, "text"),
        (1, "text"),
    ]
    assert response[2]["delta"]["citation"] == CITATION


def test_an_ordered_tier(local, wire, converse):
    assert converse("hello [[local: servicetier=flex]]")["serviceTier"] == {"type": "flex"}
    call = {"modelId": wire.nova, "messages": [wire.user("hello [[local: servicetier=priority]]")]}
    *_, last = local.runtime.converse_stream(**call)["stream"]
    assert last["metadata"]["serviceTier"] == {"type": "priority"}


def test_cache_writes_are_reported_by_their_lifetime(converse):
    usage = converse("hello [[local: cachewrite=20]]")["usage"]
    assert usage["cacheDetails"] == [{"ttl": "5m", "inputTokens": 20}]


@pytest.mark.parametrize("order", ["servicetier=cheap", "cite=", "redacted=maybe", "end=soon"])
def test_invalid_orders(local, order):
    status, name, message = local.converse(request_body(f"hello [[local: {order}]]")).error
    assert (status, name) == (400, "ValidationException")
    assert message.startswith("bedrock_local ")

"""ConverseStream by boto3 and by raw HTTP: the events, the orders that disturb them, and callers that leave."""

import http.client
import json

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.exceptions import EventStreamError


def stream(local, text, model="amazon.nova-lite-v1:0", **more):
    message = {"role": "user", "content": [{"text": text}]}
    return local.runtime.converse_stream(modelId=model, messages=[message], **more)["stream"]


def names(events):
    return [next(iter(event)) for event in events]


def texts(events):
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return [delta["text"] for delta in deltas if "text" in delta]


def test_text_comes_in_words_and_metadata_last(local):
    events = list(stream(local, "count to 4"))
    assert names(events) == [
        "messageStart",
        *["contentBlockDelta"] * 4,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert events[0] == {"messageStart": {"role": "assistant"}}
    assert texts(events) == ["1", " 2", " 3", " 4"]
    assert events[-2]["messageStop"] == {"stopReason": "end_turn"}
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 4


@pytest.mark.parametrize(
    "text", ["hello", "count to 30", "weather, please", 'naïve \U0001f600 [[local: texts=4 reasoning="a b"]]']
)
def test_stream_and_body_agree(local, wire, text):
    tools = {"tools": [wire.tool("get_weather", city={"type": "string"}, days={"type": "integer"})]}
    call = {"modelId": wire.claude, "messages": [wire.user(text)], "toolConfig": tools}
    whole = local.runtime.converse(**call)
    blocks = {}
    for event in local.runtime.converse_stream(**call)["stream"]:
        if "contentBlockStart" in event:
            index = event["contentBlockStart"]["contentBlockIndex"]
            blocks[index] = {**event["contentBlockStart"]["start"]["toolUse"], "input": ""}
        elif "contentBlockDelta" in event:
            _add(blocks, event["contentBlockDelta"])
        elif "messageStop" in event:
            assert event["messageStop"]["stopReason"] == whole["stopReason"]
        elif "metadata" in event:
            assert event["metadata"]["usage"] == whole["usage"]
    assert [blocks[index] for index in range(len(blocks))] == [_plain(b) for b in whole["output"]["message"]["content"]]


def _add(blocks, event):
    index, delta = event["contentBlockIndex"], event["delta"]
    if "toolUse" in delta:
        blocks[index]["input"] += delta["toolUse"]["input"]
    elif "text" in delta:
        blocks[index] = blocks.get(index, "") + delta["text"]
    else:
        reasoning = blocks.setdefault(index, {})
        for key, value in delta["reasoningContent"].items():
            reasoning[key] = reasoning.get(key, "") + value


def _plain(block):
    """Return a block of a whole response as the pieces of a stream add up to."""
    if "toolUse" in block:
        return {**block["toolUse"], "input": json.dumps(block["toolUse"]["input"])}
    return block["text"] if "text" in block else block["reasoningContent"]["reasoningText"]


def test_a_tool_without_arguments_has_no_delta(local, wire):
    tools = {"tools": [wire.tool("ping")], "toolChoice": {"any": {}}}
    events = list(stream(local, "go", wire.claude, toolConfig=tools))
    assert names(events) == ["messageStart", "contentBlockStart", "contentBlockStop", "messageStop", "metadata"]
    assert events[3]["messageStop"]["stopReason"] == "tool_use"


def test_max_tokens_leaves_half_a_tool_call(local, wire):
    tools = {"tools": [wire.tool("get_weather", city={"type": "string"})], "toolChoice": {"any": {}}}
    events = list(
        stream(local, 'go to "a long long long way"', wire.claude, toolConfig=tools, inferenceConfig={"maxTokens": 5})
    )
    pieces = [e["contentBlockDelta"]["delta"]["toolUse"]["input"] for e in events if "contentBlockDelta" in e]
    assert "".join(pieces) == '{"city": "a long'
    assert events[-2]["messageStop"]["stopReason"] == "max_tokens"


# --- the bytes -------------------------------------------------------------------------------------------------------


def raw_stream(local, text):
    """Open a stream by raw HTTP; return the connection and the response."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()
    path = "/model/amazon.nova-lite-v1%3A0/converse-stream"
    connection = local.connection()
    headers = local.signed("POST", path, body, headers={"Content-Type": "application/json"})
    connection.request("POST", path, body, headers)
    return connection, connection.getresponse()


def messages(data):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


def test_frames_have_padding_and_headers_in_no_fixed_order(local):
    _, response = raw_stream(local, "count to 40")
    assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.headers["x-amzn-requestid"]
    frames = messages(response.read())
    assert len({tuple(message.headers) for message in frames}) == 6
    assert len({message.payload.partition(b'"p":')[2] for message in frames}) > 10
    for message in frames:
        assert message.headers[":message-type"] == "event"
        assert message.headers[":content-type"] == "application/json"


def test_the_same_stream_has_the_same_bytes(local):
    first, second = (raw_stream(local, "count to 10")[1].read() for _ in range(2))
    assert first == second


def test_an_unknown_event_is_skipped_by_boto3(local):
    assert texts(stream(local, "count to 2 [[local: unknown]]")) == ["1", " 2"]
    frames = messages(raw_stream(local, "count to 2 [[local: unknown]]")[1].read())
    assert [m.headers[":event-type"] for m in frames][:2] == ["messageStart", "eventOfTheFuture"]


@pytest.mark.parametrize(("after", "before"), [(0, 0), (3, 3), (1000, 8)])
def test_an_ordered_exception(local, after, before):
    received = []
    with pytest.raises(EventStreamError) as caught:
        received.extend(stream(local, f"count to 4 [[local: exception=throttlingException after={after}]]"))
    assert caught.value.response["Error"]["Code"] == "throttlingException"
    assert caught.value.response["Error"]["Message"] == "throttlingException was ordered."
    _, response = raw_stream(local, f"count to 4 [[local: exception=throttlingException after={after}]]")
    *events, last = messages(response.read())
    assert len(events) == before
    assert last.headers[":message-type"] == "exception"
    assert last.headers[":exception-type"] == "throttlingException"


def test_an_ordered_error_frame(local):
    _, response = raw_stream(local, 'count to 4 [[local: error=internalFailure message="It broke" after=2]]')
    *events, last = messages(response.read())
    assert len(events) == 2
    assert dict(last.headers) == {
        ":message-type": "error",
        ":error-code": "internalFailure",
        ":error-message": "It broke",
    }
    assert last.payload == b""


def test_a_cut_connection(local):
    _, response = raw_stream(local, "count to 4 [[local: cut after=3]]")
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert len(messages(caught.value.partial)) == 3


def test_a_wrong_checksum(local):
    _, response = raw_stream(local, "count to 4 [[local: corrupt after=2]]")
    buffer = EventStreamBuffer()
    buffer.add_data(response.read())
    assert [buffer.next().headers[":event-type"] for _ in range(2)] == ["messageStart", "contentBlockDelta"]
    with pytest.raises(ChecksumMismatch):
        buffer.next()


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_held_stream_waits_after_the_first_word(local):
    events = iter(stream(local, "count to 3 [[local: hold=1]]"))
    assert next(events) == {"messageStart": {"role": "assistant"}}
    assert texts([next(events)]) == ["1"]
    assert local.calls()[-1]["state"] == "running"
    assert local.calls()[-1]["frames"] == 2
    assert local.release() == 1
    assert texts(list(events)) == [" 2", " 3"]
    assert local.calls()[-1]["state"] == "finished"
    assert local.release() == 0


@pytest.mark.parametrize("order", ["hold=1", "pace=0.01"])
def test_a_caller_that_leaves_ends_its_stream(local, order):
    connection, response = raw_stream(local, f"count to 5000 [[local: {order}]]")
    identifier = response.headers["x-amzn-requestid"]
    assert response.read(64)
    response.close()
    connection.close()
    assert [call["state"] for call in local.calls("?settled") if call["id"] == identifier] == ["aborted"]


def test_a_caller_that_leaves_with_the_last_frame_has_it_all(local):
    connection, response = raw_stream(local, "hello [[local: pace=0.01]]")
    buffer, kinds = EventStreamBuffer(), []
    while "metadata" not in kinds:
        buffer.add_data(response.read1())
        kinds.extend(message.headers[":event-type"] for message in buffer)
    response.close()
    connection.close()
    identifier = response.headers["x-amzn-requestid"]
    assert [call["state"] for call in local.calls("?settled") if call["id"] == identifier] == ["finished"]


def test_pace_is_between_frames(local, start):
    with start("--pace", "30") as slow:
        events = iter(stream(slow, "count to 3"))
        assert names([next(events)]) == ["messageStart"]
        assert slow.calls()[-1]["frames"] == 1
        assert len(list(stream(slow, "count to 3 [[local: pace=0]]"))) == 7
        assert slow.calls()[0]["frames"] == 1

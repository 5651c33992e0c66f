"""The server's record of its calls: list, hold, release and forget."""

import json

import pytest


def test_a_call_is_shown_as_it_arrived(local, wire, converse):
    converse("hello", model=wire.claude)
    (call,) = local.calls()[-1:]
    assert (call["operation"], call["method"]) == ("Converse", "POST")
    assert call["path"] == f"/model/{wire.claude.replace(':', '%3A')}/converse"
    assert call["model"] == wire.claude
    assert call["state"] == "finished"
    assert call["error"] is None
    assert call["body"] == {"messages": [wire.user("hello")]}
    assert call["headers"]["content-type"] == "application/json"
    assert call["headers"]["host"] == f"127.0.0.1:{local.port}"
    assert "authorization" not in call["headers"]


def test_a_rejected_call_has_its_reason(local):
    response = local.send("POST", "/model/m/converse", {"Content-Type": "application/json"}, b"{broken")
    (call,) = local.calls()[-1:]
    assert (call["state"], call["error"], call["body"]) == (
        "refused",
        "MissingAuthenticationTokenException",
        "{broken",
    )
    assert call["id"] == response.headers["x-amzn-requestid"]


def test_an_unknown_operation_is_kept_too(local):
    local.send("GET", "/somewhere")
    (call,) = local.calls()[-1:]
    assert (call["operation"], call["model"], call["body"]) == ("Unknown", None, None)


def test_only_the_last_200_are_kept_and_can_be_forgotten(local):
    for number in range(203):
        local.send("GET", f"/n/{number}")
    assert len(local.calls()) == 200
    assert local.send("DELETE", "/_local/calls").status == 204
    assert local.calls() == []


HELD = "hi [[local: hold=1]]"
TITAN = "/model/amazon.titan-embed-text-v2%3A0/invoke"
JSON = {"Content-Type": "application/json"}
NOVA = "/model/amazon.nova-lite-v1%3A0/converse"


def begin(local, path, body):
    """Send a request whose response is awaited later."""
    content = json.dumps(body).encode()
    connection = local.connection()
    headers = local.signed("POST", path, content, headers={"Content-Type": "application/json"})
    connection.request("POST", path, content, headers)
    return connection


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOVA, {"messages": [{"role": "user", "content": [{"text": HELD}]}]}),
        (TITAN, {"inputText": HELD}),
    ],
)
def test_a_whole_response_can_be_held(local, path, body):
    connection = begin(local, path, body)
    assert local.release("?held=1") == 1
    assert connection.getresponse().status == 200
    connection.close()


def test_a_release_can_wait_for_several(local):
    connections = [begin(local, TITAN, {"inputText": HELD}) for _ in range(3)]
    assert [call["state"] for call in local.calls("?held=3")][-3:] == ["running"] * 3
    assert local.release() == 3
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()


def test_a_held_caller_that_leaves_is_forgotten(start):
    with start() as other:
        connection = begin(other, TITAN, {"inputText": HELD})
        assert other.calls("?held=1")[0]["state"] == "running"
        connection.close()
        assert [call["state"] for call in other.calls("?settled")] == ["aborted"]
        assert other.release() == 0


@pytest.mark.parametrize("held", ["none", "0", ""])
def test_the_number_of_calls_is_a_number(local, held):
    assert local.send("GET", f"/_local/calls?held={held}").status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOVA, {"messages": [{"role": "user", "content": [{"text": HELD}]}]}),
        (TITAN, {"inputText": HELD}),
    ],
)
def test_a_call_is_billed_although_its_caller_leaves(start, path, body):
    with start() as other:
        connection = begin(other, path, body)
        other.calls("?held=1")
        connection.close()
        [call] = other.calls("?settled")
    assert call["state"] == "aborted"
    assert call["billed"]["inputTokens"] > 0


@pytest.mark.parametrize(
    ("order", "written"),
    [("hold", 1), ("hold=after after=4", 3), ("hold=end", 5), ("hold=start", 0), ("nometadata", 5)],
)
def test_a_stream_is_billed_as_far_as_it_was_written(start, wire, order, written):
    with start() as other:
        text = f"Count to 5. [[local: {order}]]"
        body = json.dumps({"messages": [wire.user(text)]}).encode()
        path = NOVA + "-stream"
        connection = other.connection()
        connection.request("POST", path, body, other.signed("POST", path, body, headers=JSON))
        if order == "nometadata":
            connection.getresponse().read()
        else:
            [call] = other.calls("?held=1")
            while call["billed"].get("outputTokens") != written:  # it is held already before its first frame
                [call] = other.calls()
        connection.close()
        [call] = other.calls("?settled")
    assert call["billed"]["inputTokens"] > 0
    assert call["billed"]["outputTokens"] == written


def test_a_call_that_ended_is_billed_its_usage_and_an_error_nothing(local, wire, converse):
    response = converse("hello [[local: cacheread=7 cachewrite=2]]", model=wire.claude)
    assert local.calls()[-1]["billed"] == response["usage"]
    with pytest.raises(Exception, match="ordered"):
        converse("hello [[local: status=429]]", model=wire.claude)
    assert local.calls()[-1]["billed"] == {}

"""What the server tells about the calls it had."""

import json

import pytest


def test_a_call_is_shown_as_it_arrived(local, wire, say):
    say("hello", model=wire.claude)
    (call,) = local.calls()[-1:]
    assert call["operation"] == "Converse"
    assert call["model"] == wire.claude
    assert call["state"] == "finished"
    assert call["error"] is None
    assert call["body"] == {"messages": [wire.user("hello")]}
    assert call["headers"]["content-type"] == "application/json"
    assert call["headers"]["host"] == f"127.0.0.1:{local.port}"
    assert "authorization" not in call["headers"]


def test_a_refused_call_says_why(local):
    answer = local.send("POST", "/model/m/converse", {"Content-Type": "application/json"}, b"{broken")
    (call,) = local.calls()[-1:]
    assert (call["state"], call["error"], call["body"]) == (
        "refused",
        "MissingAuthenticationTokenException",
        "{broken",
    )
    assert call["id"] == answer.headers["x-amzn-requestid"]


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


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/model/amazon.nova-lite-v1%3A0/converse", {"messages": [{"role": "user", "content": [{"text": "hi [[local: hold=1]]"}]}]}),
        ("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": "hi [[local: hold=1]]"}),
    ],
)  # fmt: skip
def test_a_whole_answer_can_be_held(local, path, body):
    content = json.dumps(body).encode()
    headers = local.signed("POST", path, content, headers={"Content-Type": "application/json"})
    connection = local.connection()
    connection.request("POST", path, content, headers)
    while not local.release():  # until it has arrived there
        pass
    assert connection.getresponse().status == 200
    connection.close()


def test_a_held_caller_that_leaves_is_forgotten(local, start):
    with start() as other:
        path = "/model/amazon.titan-embed-text-v2%3A0/invoke"
        content = b'{"inputText": "hi [[local: hold=1]]"}'
        connection = other.connection()
        connection.request("POST", path, content, other.signed("POST", path, content))
        while not other.calls():  # until it has arrived there
            pass
        connection.close()
        assert [call["state"] for call in other.calls("?settled")] == ["aborted"]
        assert other.release() == 0

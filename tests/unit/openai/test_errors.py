"""OpenAI's error shape."""

import json

import pytest

from extproc.openai.errors import ApiError, invalid


def test_all_four_keys_are_always_there() -> None:
    assert json.loads(ApiError(500, "Oh.", type="server_error").encode()) == {
        "error": {"message": "Oh.", "type": "server_error", "param": None, "code": None}
    }


def test_what_the_caller_can_mend_is_a_400_that_names_the_place() -> None:
    error = invalid("Wrong.", "messages[0]", "invalid_value")
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert (error.param, error.code, str(error)) == ("messages[0]", "invalid_value", "Wrong.")


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\U0001f600" * 1_000_000])
def test_what_is_quoted_at_length_is_cut(text: str) -> None:
    found = json.loads(invalid(text, text).encode())["error"]
    assert len(found["message"]) == len(found["param"]) == 2000
    assert found["message"].endswith("…")

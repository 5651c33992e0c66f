"""OpenAI's error shape."""

import ast
import json
from pathlib import Path

import pytest

import extproc
from extproc.openai.errors import ApiError, invalid


def test_all_four_keys_are_always_there() -> None:
    assert json.loads(ApiError(500, "Oh.", type="server_error").encode()) == {
        "error": {"message": "Oh.", "type": "server_error", "param": None, "code": None}
    }


def test_a_fault_that_the_caller_can_fix_is_a_400_that_names_the_field() -> None:
    error = invalid("Wrong.", "messages[0]", "invalid_value")
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert (error.param, error.code, str(error)) == ("messages[0]", "invalid_value", "Wrong.")


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\U0001f600" * 1_000_000])
def test_long_quotations_are_truncated(text: str) -> None:
    error_object = json.loads(invalid(text, text).encode())["error"]
    assert len(error_object["message"]) == len(error_object["param"]) == 2000
    assert error_object["message"].endswith("…")


def test_every_failure_of_the_gateways_own_has_a_code() -> None:
    """Clients switch on `code`: no 5xx is made without one, wherever in the package it is made."""
    made = [
        (path, call)
        for path in Path(extproc.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("ApiError", "_Rule")
    ]
    failures = [(path, call) for path, call in made if is_failure(call)]
    assert len(failures) > 10
    for path, call in failures:
        named = {keyword.arg for keyword in call.keywords} | ({"code"} if len(call.args) > 2 else set())
        assert "code" in named, f"{path}:{call.lineno}"


def is_failure(call: ast.Call) -> bool:
    """Return whether it makes an error with a status of 500 or more."""
    status = call.args[0] if call.args else None
    return isinstance(status, ast.Constant) and isinstance(status.value, int) and status.value >= 500

"""Texts that a client marks for its guardrail, as LiteLLM's clients do: `{"type": "guarded_text", "text": …}`."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import plan

Read = Callable[[bytes], dict[str, Any]]

GUARDRAIL = {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}
MODEL = "anthropic.claude-sonnet-4-6"
WITHOUT_GUARDRAILS = BUILT_IN.of("cohere.command-r-v1:0")


def part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "guarded_text", "text": text, **fields}


def body(*messages: Any, capabilities: Capabilities | None = None, **fields: Any) -> bytes:
    request = {"model": MODEL, "messages": messages, "guardrailConfig": GUARDRAIL, **fields}
    return plan(decode_request(json.dumps(request).encode()), capabilities or BUILT_IN.of(MODEL)).body


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts}


def test_a_marked_text_is_guarded_and_others_are_not(read_converse: Read) -> None:
    message = user({"type": "text", "text": "Translate:"}, part("Guten Tag"), part(" \n"))
    assert read_converse(body(message))["messages"] == [
        {"role": "user", "content": [{"text": "Translate:"}, {"guardContent": {"text": {"text": "Guten Tag"}}}]}
    ]


@pytest.mark.parametrize("qualifiers", [["grounding_source"], ["query", "guard_content"]])
def test_a_marked_text_may_be_qualified_for_a_grounding_check(read_converse: Read, qualifiers: list[str]) -> None:
    [turn] = read_converse(body(user(part("Guten Tag", qualifiers=qualifiers))))["messages"]
    assert turn["content"] == [{"guardContent": {"text": {"text": "Guten Tag", "qualifiers": qualifiers}}}]
    [turn] = read_converse(body(user(part("Guten Tag", qualifiers=None))))["messages"]
    assert turn["content"] == [{"guardContent": {"text": {"text": "Guten Tag"}}}]


@pytest.mark.parametrize("qualifiers", [[], ["source"], "query", ["query"] * 4])
def test_other_qualifiers_are_rejected(qualifiers: Any) -> None:
    with pytest.raises(ApiError) as caught:
        body(user(part("Guten Tag", qualifiers=qualifiers)))
    assert caught.value.param in ("messages[0].content[0].qualifiers", "messages[0].content[0].qualifiers[0]")


def test_a_marked_text_may_be_all_there_is_and_may_be_cached(read_converse: Read) -> None:
    marked = part("Guten Tag", cache_control={"type": "ephemeral"})
    [turn] = read_converse(body(user(marked)))["messages"]
    assert turn["content"] == [{"guardContent": {"text": {"text": "Guten Tag"}}}, {"cachePoint": {"type": "default"}}]


def test_a_document_beside_a_marked_text_has_a_text_too(read_converse: Read) -> None:
    data = base64.b64encode(b"%PDF-1.4\n").decode()
    file = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}", "filename": "a.pdf"}}
    [turn] = read_converse(body(user(part("Read this."), file)))["messages"]
    assert [next(iter(block)) for block in turn["content"]] == ["guardContent", "document", "text"]


def test_without_a_guardrail_of_its_own_a_request_marks_nothing() -> None:
    """A guardrail that an operator puts around all requests would ignore unmarked text."""
    with pytest.raises(ApiError) as caught:
        body(user({"type": "text", "text": "a"}), user(part("b")), guardrailConfig=None)
    assert (caught.value.status, caught.value.param) == (400, "messages[1].content[0]")
    assert "guardrailConfig" in caught.value.message


def test_a_model_that_takes_no_guardrails_takes_no_marks() -> None:
    assert not WITHOUT_GUARDRAILS.guardrails
    with pytest.raises(ApiError) as caught:
        body(user(part("a")), capabilities=WITHOUT_GUARDRAILS)
    assert (caught.value.status, caught.value.param) == (400, "guardrailConfig")


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool"])
def test_only_users_texts_are_marked(role: str) -> None:
    with pytest.raises(ApiError) as caught:
        body({"role": role, "content": [part("a")], **({"tool_call_id": "c"} if role == "tool" else {})})
    assert caught.value.status == 400

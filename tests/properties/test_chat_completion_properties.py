"""Any response of Bedrock is a completion or one named error."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from extproc.bedrock.converse_response import ConverseResponseError
from extproc.openai.errors import ApiError
from extproc.translate.chat_completion import translate_response
from extproc.translate.response_shape import ResponseShape

# JSON of any kind

words = st.text(max_size=12)
numbers = st.integers() | st.just(10**40) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=3)


def rarely(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = values) -> st.SearchStrategy[Any]:
    """Return `usual`, and something else one time in about a hundred."""
    return st.integers(0, 99).flatmap(lambda dice: odd if dice == 31 else usual)


names = rarely(
    st.sampled_from(["f", "g", "get_weather", "x" * 64, "mcp.a/b", "x" * 65, "f\n"]),
    st.sampled_from(["", "x" * 513]),
)


# Responses

response_fields = st.fixed_dictionaries(
    {},
    optional={
        "text": rarely(words),
        "toolUse": rarely(
            st.fixed_dictionaries({"toolUseId": words, "name": names}, optional={"input": rarely(objects)})
        ),
        "reasoningContent": rarely(st.just({"reasoningText": {"text": "Hm."}}) | st.just({"redactedContent": "eA=="})),
        "citationsContent": rarely(st.just({"content": [{"text": "cited"}]})),
        "p": words,
    },
)
responses = st.fixed_dictionaries(
    {
        "output": rarely(
            st.lists(response_fields, max_size=4).map(
                lambda blocks: {"message": {"role": "assistant", "content": blocks}}
            )
        ),
        "stopReason": rarely(st.sampled_from(["end_turn", "tool_use", "max_tokens", "malformed_tool_use", "new"])),
    },
    optional={"usage": rarely(st.just({"inputTokens": 1, "outputTokens": 2, "totalTokens": 3})), "metrics": values},
)


@given(responses | values, st.sampled_from([None, "f"]))
def test_any_json_is_a_completion_or_a_bad_response(body: Any, answer_tool: str | None) -> None:
    encoded = json.dumps(body).encode()
    try:
        completed = translate_response(
            encoded, completion_id="i", created=1, model="m", shape=ResponseShape(answer_tool=answer_tool)
        )
    except (ConverseResponseError, ApiError):
        return
    completion = ChatCompletion.model_validate_json(completed.body, strict=True)
    assert completion.choices[0].finish_reason == completed.finish
    assert completed.finish != "tool_calls" or completion.choices[0].message.tool_calls

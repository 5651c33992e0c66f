"""Fields of other APIs in a request of chat completions: the error names what to send instead.

Some clients send the form of OpenAI's Responses API or of Anthropic's Messages API here, Cursor both. Their users see
one error of one field, so its message has to name the form and the setting.

Decision: docs/decisions.md, D158.
"""

import re

from extproc.openai.errors import ApiError

_CHAT = (
    "This is chat completions, where the conversation is in `messages`: choose chat completions in the client's "
    "settings."
)
_TOOL = 'Here a tool is {"type": "function", "function": {"name": …, "description": …, "parameters": …}}.'
_PARTS = (
    "Parts of a message are `text`, `image_url`, `file` and `input_audio`; a call of a tool is in the assistant's "
    "`tool_calls`, and its result is a message of the role `tool`."
)

_RESPONSES = "background|conversation|include|input|instructions|max_output_tokens|previous_response_id|reasoning|text"

_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(_RESPONSES), f"It belongs to OpenAI's Responses API. {_CHAT}"),
    (
        re.compile("system|stop_sequences"),
        "It belongs to Anthropic's Messages API. Here the system prompt is a message of the role `system`, and "
        "`stop` has the stop sequences.",
    ),
    (re.compile(r"tools\[\d+\](\.(type|name|description|parameters|strict|format|input_schema))?"), _TOOL),
    (re.compile(r"messages\[\d+\]\.content\[\d+\]\.type"), _PARTS),
    (
        re.compile(r"tool_choice(\.(type|name))?"),
        'It is "none", "auto", "required" or {"type": "function", "function": {"name": …}}.',
    ),
)
"""Paths of fields, and what a request of chat completions has in their place."""


def advised(error: ApiError) -> ApiError | None:
    """Return the error of a request that was not decoded with advice, None if no other API has such a field."""
    for path, advice in _ADVICE:
        if error.param is not None and path.fullmatch(error.param):
            return ApiError(error.status, f"{error.message} {advice}", param=error.param, code=error.code)
    return None

"""The treatment of each top-level field of a Responses request.

| kind         | what becomes of the field                                                                          |
|--------------|----------------------------------------------------------------------------------------------------|
| `InChatForm` | a field of the chat request that `responses_request` makes; `chat_fields` has its treatment          |
| `NotApplied` | it changes nothing, and is named in `x-oai-ignored-params` unless its value is neutral               |
| `Rejected`   | a 400, unless its value is neutral                                                                   |
| `Echoed`     | it shapes the response object alone                                                                  |

Tests prove every row, and find a field that has no row.
"""

from collections.abc import Mapping
from typing import Final

from extproc.translate.field_treatments import NotApplied, Rejected
from extproc.value import Value

_KEEPS_NOTHING = "This gateway keeps nothing: send the conversation in 'input', and leave '{}' out."


class InChatForm(Value, frozen=True):
    """A field that the chat form has, too, under a name of its own."""

    path: str


class Echoed(Value, frozen=True):
    """A field of the response object."""


Row = InChatForm | NotApplied | Rejected | Echoed

_SAME = """
    model stream stream_options temperature top_p tools tool_choice parallel_tool_calls user safety_identifier metadata
    service_tier prompt_cache_key prompt_cache_retention prompt_cache_options top_logprobs store moderation thinking
    top_k guardrailConfig performanceConfig additionalModelRequestFields
"""
"""Fields that a chat request has under the same name."""

RESPONSES_FIELDS: Final[Mapping[str, Row]] = {
    **{name: InChatForm(name) for name in _SAME.split()},
    "input": InChatForm("messages"),
    "instructions": InChatForm("messages"),
    "max_output_tokens": InChatForm("max_completion_tokens"),
    "text": InChatForm("response_format"),
    "reasoning": InChatForm("reasoning_effort"),
    "include": Echoed(),
    "max_tool_calls": NotApplied({"max_tool_calls": 3}),
    "truncation": NotApplied({"truncation": "auto"}, ("disabled",)),
    "client_metadata": NotApplied({"client_metadata": {"a": "b"}}, ({},)),
    "context_management": NotApplied({"context_management": [{"type": "compaction"}]}, ([],)),
    "image": NotApplied({"image": {"context_compression": "enabled"}}, ({},)),
    "access_programs": NotApplied({"access_programs": {"cyber": "standard"}}, ({},)),
    "background_options": NotApplied({"background_options": {"completion_window": "2h"}}, ({},)),
    "previous_response_id": Rejected(
        {"previous_response_id": "resp_1"}, (), _KEEPS_NOTHING.format("previous_response_id")
    ),
    "conversation": Rejected({"conversation": "conv_1"}, (), _KEEPS_NOTHING.format("conversation")),
    "prompt": Rejected(
        {"prompt": {"id": "p"}},
        (),
        "This gateway keeps no prompts: send the instructions themselves, and leave 'prompt' out.",
    ),
    "background": Rejected(
        {"background": True},
        (False,),
        "This gateway keeps nothing, so there are no responses in the background: leave 'background' out.",
    ),
}
"""The row of every field of the request's own, by its name on the wire."""

NOT_APPLIED: Final = {name: row.neutral for name, row in RESPONSES_FIELDS.items() if isinstance(row, NotApplied)}
REJECTED: Final = {name: row for name, row in RESPONSES_FIELDS.items() if isinstance(row, Rejected)}

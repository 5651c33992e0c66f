"""The items of a Responses request's `input`, and their parts, as clients send them.

Clients send back what they received, also from other services: unknown members of an item are removed and named
(`openai/unknown`), and so is an item of a type that is not declared here.

Source: `InputItem` in OpenAI's API description, and `types/responses/response_input_item_param.py` of the openai
package.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from extproc.openai.decoding import decode_at
from extproc.openai.errors import ApiError
from extproc.openai.limits import MAX_PARTS
from extproc.openai.messages import Exact, FunctionName, InputAudio, Marked
from extproc.openai.unknown import without_unknown

PARTS = Meta(max_length=MAX_PARTS)


class InputText(Marked, tag_field="type", tag="input_text"):
    """A text."""

    text: str


class OutputText(Marked, tag_field="type", tag="output_text"):
    """A text of the model's; what describes it is not read."""

    text: str
    annotations: list[Raw] | None = None
    logprobs: list[Raw] | None = None


class Refusal(Marked, tag_field="type", tag="refusal"):
    """The text of a model that declined."""

    refusal: str


class InputImage(Marked, tag_field="type", tag="input_image"):
    """An image: `data:`, http(s) or `s3:`, or the id of an uploaded one."""

    image_url: Raw = Raw(b"null")
    file_id: str | None = None
    detail: str | None = None


class InputFile(Marked, tag_field="type", tag="input_file"):
    """A document: as a `data:` URL or plain base64, or by a URL, or as the id of an uploaded one."""

    file_data: Raw = Raw(b"null")
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: str | None = None


class InputAudioPart(Marked, tag_field="type", tag="input_audio"):
    """A sound."""

    input_audio: InputAudio


Part = InputText | OutputText | Refusal | InputImage | InputFile | InputAudioPart
OutputPart = InputText | InputImage | InputFile

Status = str | None


class MessageItem(Exact, kw_only=True):
    """A message of anybody's; `id`, `status` and `phase` come from the response that it was a part of."""

    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer", "assistant"]
    content: str | Annotated[list[Part], PARTS]
    id: str | None = None
    status: Status = None
    phase: str | None = None


class FunctionCallItem(Exact, kw_only=True):
    """A call of a function, which the model requested."""

    type: Literal["function_call"]
    call_id: str
    name: FunctionName
    arguments: str
    namespace: str | None = None
    id: str | None = None
    status: Status = None
    caller: dict[str, Raw] | None = None
    asynchronous: bool | None = msgspec.field(default=None, name="async")


class CustomToolCallItem(Exact, kw_only=True):
    """A call of a custom tool, which the model requested."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: FunctionName
    input: str
    namespace: str | None = None
    id: str | None = None
    status: Status = None
    caller: dict[str, Raw] | None = None
    asynchronous: bool | None = msgspec.field(default=None, name="async")


class CallOutputItem(Exact, kw_only=True):
    """The result of a call. That of a function may be of no call: an agent reports it on its own."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str | None = None
    output: str | Annotated[list[OutputPart], PARTS]
    name: str | None = None
    namespace: str | None = None
    id: str | None = None
    status: Status = None
    caller: dict[str, Raw] | None = None


class SummaryText(Exact):
    """A piece of a summary, or of the reasoning itself."""

    type: Literal["summary_text", "reasoning_text", "text"]
    text: str


class ReasoningItem(Exact, kw_only=True):
    """The model's reasoning: a summary for people, and `encrypted_content` for the model."""

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], PARTS] | None = None
    content: Annotated[list[SummaryText], PARTS] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status = None


Item = MessageItem | FunctionCallItem | CustomToolCallItem | CallOutputItem | ReasoningItem

ITEMS: dict[str, type[Item]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "custom_tool_call": CustomToolCallItem,
    "function_call_output": CallOutputItem,
    "custom_tool_call_output": CallOutputItem,
    "reasoning": ReasoningItem,
}
"""The types of items that are read."""


class Typed(msgspec.Struct):
    """The type of an item or a tool; a message needs none."""

    type: str = "message"


def decode_item(raw: Raw, kind: type[Item], path: str) -> tuple[Item, tuple[str, ...]]:
    """Return an item and the paths of the unknown members that it had. Raises a 400 `ApiError` that names `path`."""
    try:
        return decode_at(raw, kind, path), ()
    except ApiError as error:
        if error.code != "unknown_parameter":
            raise
    known, removed = without_unknown(raw, kind, "input[]")
    return decode_at(Raw(msgspec.json.encode(known)), kind, path), removed

"""The features that a request uses, and the rejection of those that its caller may not use.

A feature is used by a field of the request, or by a part of any of its messages, past ones too. What switches a feature
off (`reasoning_effort: none`) does not use it.

Decision: docs/decisions.md, D222.
"""

from collections.abc import Sequence

from msgspec import Raw

from extproc.config.features import BITS
from extproc.openai.chat import ChatRequest, ResponseFormatJsonObject, ResponseFormatJsonSchema
from extproc.openai.errors import ApiError
from extproc.openai.messages import AudioPart, FilePart, ImagePart, Message, VideoPart
from extproc.translate.lazy_base64 import decode_string
from extproc.translate.media import S3_SCHEME, is_remote
from extproc.translate.model_fields import HARMLESS, ROOT

_WORDS = {
    "tools": "use tools",
    "web_search": "search the web",
    "images": "send images",
    "documents": "send documents",
    "audio": "send sound",
    "video": "send videos",
    "fetch": "have the gateway fetch images from URLs",
    "s3": "refer to objects in S3",
    "reasoning": "request reasoning",
    "structured_output": "request JSON",
    "model_fields": "send a model's own fields",
    "responses": "call this endpoint",
}

_MEDIA = BITS["images"] | BITS["documents"] | BITS["audio"] | BITS["video"] | BITS["fetch"] | BITS["s3"]
"""The features that parts of messages use."""
_PLACES = BITS["fetch"] | BITS["s3"]
_BEGINNINGS = (b"h", b"H", b"s", b"\\")
"""First characters of the JSON of a URL for these: media within the request, which are long, mostly begin otherwise."""


def check_features(request: ChatRequest, denied: int) -> None:
    """Raise a 403 `ApiError` for the first use of a feature with one of the bits `denied`."""
    if request.tools:
        check_feature("tools", denied, "tools")
    if request.functions:
        check_feature("tools", denied, "functions")
    if request.web_search_options is not None:
        check_feature("web_search", denied, "web_search_options")
    if isinstance(request.response_format, ResponseFormatJsonObject | ResponseFormatJsonSchema):
        check_feature("structured_output", denied, "response_format")
    if request.reasoning_effort is not None and request.reasoning_effort != "none":
        check_feature("reasoning", denied, "reasoning_effort")
    if request.thinking is not None and request.thinking.type != "disabled":
        check_feature("reasoning", denied, "thinking")
    for key in request.additional_model_request_fields or ():
        if key not in HARMLESS:
            check_feature("model_fields", denied, f"{ROOT}.{key}")
    if denied & _MEDIA:
        _check_messages(request.messages, denied)


def check_feature(name: str, denied: int, param: str | None = None) -> None:
    """Raise a 403 `ApiError` at `param` if the feature's bit is among those that are denied."""
    if denied & BITS[name]:
        raise ApiError(
            403,
            f"This API key may not {_WORDS[name]}: the feature `{name}` is not permitted to it, or to its "
            "organisation. Leave it out, or ask the operator of this gateway to permit it.",
            param=param,
            code="feature_not_allowed",
        )


def _check_messages(messages: Sequence[Message], denied: int) -> None:
    for index, message in enumerate(messages):
        content = message.content
        if content is None or isinstance(content, str):
            continue
        for position, part in enumerate(content):
            path = f"messages[{index}].content[{position}]"
            if isinstance(part, ImagePart):
                check_feature("images", denied, f"{path}.type")
                _check_place(part.image_url.url, denied, f"{path}.image_url.url", fetched=True)
            elif isinstance(part, FilePart):
                check_feature("documents", denied, f"{path}.type")
                _check_place(part.file.file_data, denied, f"{path}.file.file_data")
            elif isinstance(part, AudioPart):
                check_feature("audio", denied, f"{path}.type")
            elif isinstance(part, VideoPart):
                check_feature("video", denied, f"{path}.type")
                _check_place(part.video_url.url, denied, f"{path}.video_url.url")


def _check_place(raw: Raw, denied: int, path: str, *, fetched: bool = False) -> None:
    """Check the place of a part's bytes: within the request, in S3, or at a URL that would be `fetched`."""
    if not denied & _PLACES or bytes(memoryview(raw)[1:2]) not in _BEGINNINGS:
        return
    text = decode_string(raw, path).text
    if text.startswith(S3_SCHEME):
        check_feature("s3", denied, path)
    elif fetched and is_remote(text):
        check_feature("fetch", denied, path)

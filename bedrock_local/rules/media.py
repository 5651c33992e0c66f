"""Images, documents, video and audio: the models that take them, their number, size and format."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from bedrock_local.conversation import Block, Conversation
from bedrock_local.families import Family
from bedrock_local.rules.words import errors, unsupported

_KINDS = ("image", "document", "video", "audio", "searchResult")

#: Limits of Converse, as documented: number per request, and bytes of each.
MAX_IMAGES, MAX_IMAGE_BYTES = 20, 3_750_000
MAX_DOCUMENTS, MAX_DOCUMENT_BYTES = 5, 4_500_000

_NAME = re.compile(r"[A-Za-z0-9\-()\[\]]+(?:\s[A-Za-z0-9\-()\[\]]+)*")

#: Tests of the first bytes of a format.
_IS_FORMAT: dict[str, Callable[[bytes], bool]] = {
    "png": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "jpeg": lambda data: data.startswith(b"\xff\xd8\xff"),
    "gif": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "pdf": lambda data: data.startswith(b"%PDF-"),
}


def model_takes_them(conversation: Conversation) -> Iterator[str]:
    """A model takes certain kinds of media, in certain formats, and some of them from S3."""
    for block in conversation.blocks(*_KINDS):
        if not _taken(conversation.family, block):
            yield unsupported(block.kind, block.path)
    for kind, value, path in _media(conversation):
        if "s3Location" in value.get("source", {}) and kind not in conversation.family.s3:
            yield f"This model doesn't support the s3Location field that you provided at {path}. Use bytes instead."


def _taken(family: Family, block: Block) -> bool:
    """Return whether the family takes such a block in a turn. A document without a format is a text."""
    formats = {"document": family.documents, "video": family.video, "audio": family.audio}
    if block.kind in formats:
        return block.value.get("format", "txt") in formats[block.kind]
    return block.kind == "image" and family.images


def images_have_bytes(conversation: Conversation) -> Iterator[str]:
    """An image's `error` is a field of responses only."""
    for _, image, path in _media(conversation, "image"):
        if "error" in image:
            yield f"The error field at {path} is not supported in a request."


def number_and_size(conversation: Conversation) -> Iterator[str]:
    """At most 20 images and 5 documents, neither too large."""
    for kind, most, size in (("image", MAX_IMAGES, MAX_IMAGE_BYTES), ("document", MAX_DOCUMENTS, MAX_DOCUMENT_BYTES)):
        blocks = [(value, path) for _, value, path in _media(conversation, kind)]
        if len(blocks) > most:
            yield f"The number of {kind} blocks ({len(blocks)}) exceeds the maximum of {most} in a request."
        for value, path in blocks:
            length = len(value["source"].get("bytes", b""))
            if length > size:
                yield f"The {kind} at {path} has {length} bytes, which exceeds the maximum of {size}."


def bytes_are_of_the_format(conversation: Conversation) -> Iterator[str]:
    """The first bytes are those of the declared format."""
    for kind, value, path in _media(conversation, "image", "document"):
        data, name = value["source"].get("bytes"), value.get("format", "")
        if data is not None and name in _IS_FORMAT and not _IS_FORMAT[name](data):
            yield errors(
                f"{path}.{kind}.source.bytes: {kind.capitalize()} does not match the provided media type {kind}/{name}"
            )


def document_names(conversation: Conversation) -> Iterator[str]:
    """Names of documents are plain, and each only once in a request."""
    names = [document["name"] for _, document, _ in _media(conversation, "document")]
    for name in names:
        if not _NAME.fullmatch(name):
            yield (
                "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, "
                "parentheses, and square brackets. The name can't contain more than one consecutive whitespace "
                "character."
            )
    for name, count in Counter(names).items():
        if count > 1:
            yield f"The document file names in a request must be unique: {name} appears {count} times."


def citations(conversation: Conversation) -> Iterator[str]:
    """Only some models cite documents, and only some formats; and not beside a schema of the message."""
    for _, document, path in _media(conversation, "document"):
        if not document.get("citations", {}).get("enabled"):
            continue
        if not conversation.family.cited:
            yield unsupported("citations", path)
        elif document.get("format", "txt") not in conversation.family.cited:
            yield "Unsupported document format. Only txt and pdf formats are supported when citations are enabled"
        elif conversation.at(("outputConfig", "textFormat")) is not None:
            yield errors("output_config.format: Citations cannot be enabled when output_config.format is set")


def documents_need_text(conversation: Conversation) -> Iterator[str]:
    """A turn with a document has a text too."""
    for number, turn in enumerate(conversation.turns()):
        kinds = {block.kind for block in turn}
        if "document" in kinds and "text" not in kinds:
            yield f"A text block is required beside the document blocks at messages.{number}.content."


def _media(conversation: Conversation, *kinds: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the blocks of these kinds with kind, value and path, those within tool results too."""
    wanted = kinds or _KINDS
    for block in conversation.blocks(*wanted):
        yield block.kind, block.value, block.path
    for result in conversation.blocks("toolResult"):
        for index, part in enumerate(result.value["content"]):
            kind, value = next(iter(part.items()))
            if kind in wanted:
                yield kind, value, f"{result.path}.toolResult.content.{index}"


RULES = (
    model_takes_them,
    images_have_bytes,
    number_and_size,
    bytes_are_of_the_format,
    document_names,
    citations,
    documents_need_text,
)

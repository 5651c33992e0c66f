"""Media in messages: sniffing, base64, data: URLs (extproc.translate.media, given, documents).

Invariants: a part becomes a block that the model's family takes, or one `ApiError` with status 400, never another
exception; an escape in the JSON makes no difference; what goes out is the base64 that came in, and an image has the
format that its first bytes have.

Oracle: the standard library's base64.

The first byte of an input selects the family, the second the part and how the rest is read: as the text of the URL, or
as content to be put into a data: URL.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.converse import ConverseMessage, ConverseRequest
from extproc.openai.errors import ApiError
from extproc.openai.messages import AudioPart, FilePart, ImagePart, VideoPart
from extproc.translate.ignored import Ignored
from extproc.translate.media import Media

FAMILIES = tuple(
    family for _, family in sorted(BUILT_IN.families.items()) if family.images or family.documents or family.video
)
PARTS: tuple[Any, ...] = (ImagePart, FilePart, AudioPart, VideoPart)
TYPES = ("image/png", "application/pdf", "audio/wav", "video/mp4")
BEGINNINGS = {"png": (b"\x89PNG",), "jpeg": (b"\xff\xd8\xff",), "gif": (b"GIF8",), "webp": (b"RIFF",)}

WORDS = (
    b"data:image/png;base64,",
    b"data:;base64,",
    b"DATA:text/plain;charset=utf-8;base64,",
    b"https://x/a.png",
    b"s3://bucket/a.mp4",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF",
    b"WEBP",
    b"%PDF-",
    b"PK\x03\x04",
    b"word/",
    b"xl/",
    b"<!doctype html",
    b"ftypqt  ",
    b"ftyp3gp",
    b"\x1a\x45\xdf\xa3webm",
    b"FLV",
    b"=",
    b"==",
    b"===",
    b"\r\n",
)


def check(data: bytes) -> None:
    """Translate the part as it is, and with every character escaped."""
    takes = FAMILIES[(data[0] if data else 0) % len(FAMILIES)]
    select, rest = (data[1] if len(data) > 1 else 0), data[2:]
    kind = select % 4
    if select & 4:
        text = f"data:{TYPES[kind]};base64," + base64.b64encode(rest).decode()
    else:
        text = rest.decode("utf-8", "replace")
    plain = _translated(_part(kind, json.dumps(text, ensure_ascii=False)), kind, takes)
    escaped = "".join(f"\\u{ord(one):04x}" if ord(one) < 0x10000 else json.dumps(one)[1:-1] for one in text)
    assert _translated(_part(kind, f'"{escaped}"'), kind, takes) == plain, "an escape makes a difference"
    if isinstance(plain, dict):
        _check_block(plain, text)


def seeds() -> Iterator[bytes]:
    """Yield each kind of content, as it is and in a data: URL, for some families."""
    contents = [
        b"\x89PNG\r\n\x1a\n.",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF....WEBP",
        b"%PDF-1.7",
        b"PK\x03\x04 word/ ",
        b"<html>",
        b"a,b\n1,2\n",
        b"....ftypqt  ",
        b"....ftyp3gp5",
        b"\x1a\x45\xdf\xa3....webm",
        b"FLV\x01",
        b"",
        b"\x00\xff" * 40,
    ]
    for at, content in enumerate(contents):
        for kind in range(4):
            yield bytes([at * 3 + kind, 4 + kind]) + content
    texts = [
        "https://x/a.png",
        "s3://bucket/a.mp4",
        "s3://bucket/a.pdf",
        "data:,",
        "data:image/png;base64,aGk",
        "aGk=",
        "aGk= \n",
    ]
    for at, text in enumerate(texts):
        for kind in range(4):
            yield bytes([at * 5 + kind, kind]) + text.encode()


def _part(kind: int, url: str) -> bytes:
    name, member = (("image_url", "url"), ("file", "file_data"), ("input_audio", "data"), ("video_url", "url"))[kind]
    more = ',"filename":"a.csv"' if kind == 1 else ',"format":"wav"' if kind == 2 else ""
    return f'{{"type":"{name}","{name}":{{"{member}":{url}{more}}}}}'.encode("utf-8", "surrogatepass")


def _translated(part: bytes, kind: int, takes: Capabilities) -> Any:
    """Return the block as JSON, or the error's body; None for a fault in the JSON itself."""
    try:
        block = Media(takes, {}, Ignored()).block(msgspec.json.decode(part, type=PARTS[kind]), "p")
    except ApiError as error:
        assert error.status == 400, error.status
        return error.encode()
    except msgspec.MsgspecError:
        return None
    return json.loads(bytes(ConverseRequest(messages=[ConverseMessage("user", [block])]).encode()))["messages"][0][
        "content"
    ][0]


def _check_block(block: dict[str, Any], text: str) -> None:
    (body,) = block.values()
    if "bytes" not in body["source"]:
        return
    sent = text.partition(",")[2] if text[:5].lower() == "data:" else text
    content = base64.b64decode(body["source"]["bytes"], validate=True)
    assert content == base64.b64decode("".join(sent.split())), "other bytes go out"
    if "image" in block:
        assert content.startswith(BEGINNINGS[body["format"]]), "the format is another"

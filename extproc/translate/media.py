"""Images as OpenAI has them -> Bedrock's image blocks.

The type is read from the bytes, not believed from the URL: clients mislabel images, and Bedrock refuses a wrong
format. The base64 text itself goes through as it came.
"""

import binascii
from typing import Literal

from extproc.bedrock.converse import Image, ImageBody, Source
from extproc.openai.errors import ApiError, invalid

Format = Literal["png", "jpeg", "gif", "webp"]

_WHITE_SPACE = str.maketrans("", "", " \t\r\n")
_ACCEPTED = "a data: URL with a base64 PNG, JPEG, GIF or WebP image"


def image_block(url: str, param: str) -> Image:
    """The image in a `data:` URL; `param` is the path of the URL in the request, for the 400 it may raise."""
    head, comma, data = url.partition(",")
    scheme = head[:5].lower()
    if scheme != "data:":
        raise _refuse("Image URLs are not fetched: send the image itself, as " + _ACCEPTED + ".", param)
    if not comma or not head.lower().endswith(";base64"):
        raise _refuse(f"This is not {_ACCEPTED}.", param)
    if not data.isascii():
        raise _refuse("The image's base64 is damaged: it has characters outside ASCII.", param)
    data = data.translate(_WHITE_SPACE)
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise _refuse(f"The image's base64 is damaged: {error}.", param) from error
    if len(data) != (len(content) + 2) // 3 * 4:
        raise _refuse("The image's base64 is damaged: there is too much padding.", param)
    return Image(ImageBody(format=_sniff(content, param), source=Source(data)))


def _sniff(content: bytes, param: str) -> Format:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    raise _refuse("These bytes are not an image that models take: send a PNG, JPEG, GIF or WebP.", param)


def _refuse(message: str, param: str) -> ApiError:
    return invalid(message, param, "invalid_image")

"""Image formats of Converse, by the signature at the beginning of a file."""

from typing import Final, Literal

ImageFormat = Literal["png", "jpeg", "gif", "webp"]

SIGNATURE_BYTES: Final = 12
"""Longest signature, in bytes."""


def image_format(beginning: bytes) -> ImageFormat | None:
    """Return the format of an image that begins with these bytes; None for any other file."""
    if beginning.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if beginning.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if beginning.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return "webp"
    return None

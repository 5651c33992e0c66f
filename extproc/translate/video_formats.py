"""Video formats of Converse, by media type, extension, or the beginning of a file."""

from typing import Final

from extproc.bedrock.capabilities import VideoFormat

_MEDIA_TYPES: Final[dict[str, VideoFormat]] = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mpg": "mpg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}

VIDEO_EXTENSIONS: Final[dict[str, VideoFormat]] = {
    "mp4": "mp4",
    "mov": "mov",
    "mkv": "mkv",
    "webm": "webm",
    "flv": "flv",
    "mpeg": "mpeg",
    "mpg": "mpg",
    "wmv": "wmv",
    "3gp": "three_gp",
}
"""Formats by file name extension."""


def video_format(beginning: bytes, media_type: str) -> VideoFormat | None:
    """Return the format by the media type, or else by the first bytes; None if neither is known."""
    return _MEDIA_TYPES.get(media_type) or _begins_like(beginning)


def _begins_like(content: bytes) -> VideoFormat | None:
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        return "mov" if brand == b"qt  " else "three_gp" if brand.startswith(b"3g") else "mp4"
    if content.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in content[:64] else "mkv"
    return "flv" if content.startswith(b"FLV") else None

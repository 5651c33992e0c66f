"""A document's format, one of Bedrock's, and its name.

No source is reliable: media types are generic, file names are missing. The first of these that decides counts:

1. bytes that begin like a PDF are one;
2. the media type, where it is one of those below;
3. how other bytes begin: HTML, or the folders inside of an Office document;
4. the file name's extension;
5. other text, such as JSON or a program's source, is plain text, which loses nothing.

Invariant: whatever the three are, one of Bedrock's formats or None.

A name consists of letters, digits, single blanks, hyphens, brackets and parentheses, and each is unique in a request.

Source: `DocumentFormat` and `name` of Converse, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html

Decision: docs/decisions.md, D128.
"""

import re
import unicodedata

from extproc.bedrock.capabilities import DocumentFormat
from extproc.bedrock.converse import TextContent
from extproc.openai.errors import invalid

MOST_DOCUMENTS = 5
"""Most documents of one request (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-api-restrictions.html)."""

_MEDIA_TYPES: dict[str, DocumentFormat] = {
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "md",
    "text/x-markdown": "md",
}
EXTENSIONS: dict[str, DocumentFormat] = {
    "pdf": "pdf",
    "csv": "csv",
    "doc": "doc",
    "docx": "docx",
    "xls": "xls",
    "xlsx": "xlsx",
    "html": "html",
    "htm": "html",
    "txt": "txt",
    "md": "md",
    "markdown": "md",
}
"""Formats by file name extension."""
_LONGEST_EXTENSION = max(map(len, EXTENSIONS))

TEXTS: tuple[DocumentFormat, ...] = ("txt", "md", "csv", "html")
"""Formats whose bytes are text."""

_LONGEST_NAME = 190
"""Longest name, in characters; Bedrock takes 200, and a number may follow."""
_UNFIT = re.compile(r"[^A-Za-z0-9\-()\[\] ]+")
_BLANKS = re.compile(r"\s+")

_PDF = b"%PDF-"
_FOLDERS: tuple[tuple[bytes, DocumentFormat], ...] = ((b"word/", "docx"), (b"xl/", "xlsx"))
_NEAR = 4096
"""The first bytes, in which an Office document names the folder it keeps its parts in."""


def document_format(content: bytes, media_type: str, filename: str) -> DocumentFormat | None:
    """Return the format, or None.

    `media_type` is in lower case and without parameters; it and `filename` may be empty.
    """
    if content.startswith(_PDF):
        return "pdf"
    return _MEDIA_TYPES.get(media_type) or _begins_like(content) or by_extension(filename) or _text(content)


def is_broken(content: bytes, document: DocumentFormat) -> bool:
    """Return whether the content is not of its format. Only PDFs are checked; other bytes may precede their header."""
    return document == "pdf" and _PDF not in content[:1024]


def by_extension(filename: str) -> DocumentFormat | None:
    """Return the format for the extension of the file name, or None."""
    end = filename[-_LONGEST_EXTENSION - 1 :]  # not all of a name that may be as long as the request
    return EXTENSIONS.get(end.rpartition(".")[2].lower())


def document_name(filename: str) -> str:
    """Return the name that Bedrock takes for this file name or URI, or "" if nothing of it may stay.

    Folders and the extension of a known format are left out, accents too; other characters become hyphens.
    """
    start = max(filename.rfind("/"), filename.rfind("\\")) + 1
    dot = filename.rfind(".", start)
    end = dot if dot > start and by_extension(filename) is not None else len(filename)
    name = filename[start : min(end, start + _LONGEST_NAME)]
    letters = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    fit = _UNFIT.sub("-", _BLANKS.sub(" ", letters)).strip("- ")
    return _BLANKS.sub(" ", fit)[:_LONGEST_NAME].strip("- ")


def document_as_text(name: str, content: bytes, param: str) -> TextContent:
    """Return a document as a text. Raises a 400 `ApiError` if it is none, which `content` may be empty for."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not text:
        message = (
            f"This is one document too many: a request may have {MOST_DOCUMENTS}, those of earlier turns too. Leave "
            f"one out, or send its text: documents of the formats {', '.join(TEXTS)} beyond that are sent as text."
        )
        raise invalid(message, param, "too_many_documents")
    return TextContent(f"[Document {name or 'without a name'}:]\n{text}\n[End of the document.]")


def _begins_like(content: bytes) -> DocumentFormat | None:
    if content.startswith(b"PK\x03\x04"):
        return next((office for folder, office in _FOLDERS if folder in content[:_NEAR]), None)
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "html" if start.startswith((b"<!doctype html", b"<html")) else None


def _text(content: bytes) -> DocumentFormat | None:
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return "txt" if content and b"\x00" not in content else None

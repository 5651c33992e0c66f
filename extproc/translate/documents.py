"""Detection of a document's format, one of Bedrock's.

No source is reliable: media types are generic, file names are missing. The first of these that decides counts:

1. bytes that begin like a PDF are one;
2. the media type, where it is one of those below;
3. how other bytes begin: HTML, or the folders inside of an Office document;
4. the file name's extension;
5. other text, such as JSON or a program's source, is plain text, which loses nothing.

Invariant: whatever the three are, one of Bedrock's formats or None.

Source: `DocumentFormat` of Converse, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
"""

from extproc.bedrock.capabilities import DocumentFormat

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
    return EXTENSIONS.get(filename.rpartition(".")[2].lower())


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

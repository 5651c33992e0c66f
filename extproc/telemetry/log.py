"""Logging: one line per record on stderr, as text or as JSON.

Invariant: a record is one line, tracebacks included, whatever its text is, and no record waits for a reader of stderr
(`extproc.telemetry.lines`). Bodies, tokens and credentials are never logged; a traceback may quote the input that led
to a bug, so it goes to the log only.
"""

import datetime
import logging
import sys
from typing import Literal, TextIO

import msgspec

from extproc.telemetry.lines import LineWriter, writer_of

Format = Literal["text", "json"]

QUIET = ("asyncio", "boto3", "botocore", "grpc", "urllib3")
"""Libraries whose records below WARNING are dropped; their debug output contains credentials."""


OWN = "extproc"
"""The logger above all of the gateway's own."""


def setup(level: str = "INFO", form: Format = "text", stream: TextIO | None = None) -> None:
    """Send all records from `level` upwards to `stream` (stderr), in place of earlier handlers.

    `debug` is for the gateway's own records: those of libraries contain headers (`hpack`), and stay at INFO.

    Raises `ValueError` for an unknown level.
    """
    lines = writer_of(sys.stderr) if stream is None else None
    handler = logging.StreamHandler(stream or sys.stderr) if lines is None else _Lines(lines)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    own = logging.getLogger(OWN)
    own.setLevel(level.upper())
    root.setLevel(max(own.level, logging.INFO))
    root.handlers[:] = [handler]
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    """Return the time as in RFC 3339, in UTC, with milliseconds."""
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Lines(logging.Handler):
    """A handler that passes each record to a `LineWriter`."""

    def __init__(self, lines: LineWriter) -> None:
        super().__init__()
        self._written = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record."""
        try:
            self._written.write(self.format(record).encode() + b"\n")
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Flush the lines; called at the end of the process."""
        self._written.flush()


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, str | int] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process or 0,
            "message": _clean(record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = _clean(self.formatException(record.exc_info))
        return msgspec.json.encode(fields).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {record.name}[{record.process}]: {record.getMessage()}"
        if record.exc_info:
            line = f"{line} | {self.formatException(record.exc_info)}"
        return " | ".join(part for part in _clean(line).splitlines() if part.strip())


def _clean(text: str) -> str:
    """Escape lone surrogates, which come from undecodable bytes and cannot be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()

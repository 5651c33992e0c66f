"""The file of last uses: one for all workers of a gateway.yaml, which merge what they have into it once a minute.

Invariant: the file is whole, and no time in it goes back. It has at most `MAX_ENTRIES` tokens, none of which was used
longer ago than `MAX_DAYS`. A file with anything else in it is left as it is.

Decision: docs/decisions.md, D205.
"""

import asyncio
import heapq
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from extproc.config.sources import read_regular
from extproc.worker.file_lock import locked
from extproc.worker.last_used import MINUTE_SECONDS, LastUsedError, Stamps, minute_text

MAX_ENTRIES = 150_000
MAX_BYTES = 100 * (MAX_ENTRIES + 1)
MAX_DAYS = 400

LOCK_TRIES = 50
LOCK_PAUSE_SECONDS = 0.02
"""Other workers hold the lock for as long as reading and writing the file takes."""

_MODE = 0o640


class _File(msgspec.Struct, forbid_unknown_fields=True):
    last_used: dict[str, str]
    """The minute of each token's last use, by its hash."""


class FileWriter:
    """Writes to the file at `path`, in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, stamps: Stamps) -> None:
        """Write the stamps, all or none. Raises `LastUsedError`."""
        await asyncio.to_thread(merge, self._path, dict(stamps))
        stamps.clear()


def read_last_used(path: Path) -> dict[str, str]:
    """Return the minute of each token's last use by its hash, nothing without a file. Raises `LastUsedError`."""
    try:
        text = read_regular(path, MAX_BYTES)
        return msgspec.json.decode(text, type=_File).last_used if text else {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LastUsedError(error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        remedy = "name another file in `last_used_in`, or remove this one"
        raise LastUsedError(f"it is no file of last uses ({error}); {remedy}") from error


def merge(path: Path, stamps: Mapping[str, float]) -> None:
    """Add the stamps to the file. Raises `LastUsedError`; it blocks."""
    try:
        with locked(path.with_name(f".{path.name}.lock"), _MODE, LOCK_TRIES, LOCK_PAUSE_SECONDS):
            merged = read_last_used(path)
            minutes = {used // MINUTE_SECONDS for used in stamps.values()}
            texts = {minute: minute_text(minute * MINUTE_SECONDS) for minute in minutes}
            for sha256, used in stamps.items():
                text = texts[used // MINUTE_SECONDS]
                if merged.get(sha256, "") < text:
                    merged[sha256] = text
            _write(path, msgspec.json.encode(_File(_kept(merged))))
    except OSError as error:
        remedy = "the folder of the file has to be one that workers can write"
        raise LastUsedError(f"{error.strerror or error}; {remedy}") from error


def _kept(merged: dict[str, str]) -> dict[str, str]:
    """Return what is not too old, and the newest where there is too much."""
    oldest = minute_text(time.time() - MAX_DAYS * 86_400)
    kept = {sha256: text for sha256, text in merged.items() if text >= oldest}
    if len(kept) <= MAX_ENTRIES:
        return kept
    return dict(heapq.nlargest(MAX_ENTRIES, kept.items(), key=lambda item: item[1]))


def _write(path: Path, content: bytes) -> None:
    """Replace the file; the lock is held."""
    draft = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(draft, flags, _MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

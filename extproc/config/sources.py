"""The files of a configuration: gateway.yaml, and the token files that its `tokens_from` names.

They are separate, because on Kubernetes organisations belong in a ConfigMap and tokens in a Secret. Files whose names
begin with a dot are ignored: Kubernetes keeps the versions of a mounted folder in them. So are those by which editors,
`sed -i.bak` and `patch` keep what was: a token that is revoked would go on in them.

Decision: docs/decisions.md, D30.
"""

import errno
import stat
from pathlib import Path

from extproc.config.document import ConfigError

_BACKUPS = ("~", ".bak", ".orig", ".old", ".rej", ".swp", ".tmp", "#")
"""Ends of the names of backups."""

MAX_BYTES = 8 * 1024 * 1024
"""Largest gateway.yaml or token file: tens of thousands of tokens. YAML of that size takes some seconds."""


def read_regular(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises `OSError` for anything else: a pipe would block, and a device may have no end.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Is a pipe, a socket or a device, not a file", str(path))
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"Is larger than {limit} bytes", str(path))
    return content


def contents(path: Path) -> bytes:
    """Return the content of gateway.yaml; raises `ConfigError`."""
    try:
        return read_regular(path)
    except OSError as error:
        raise _unreadable(path, error, "name a readable file with --config") from error


def token_files(place: Path) -> list[Path]:
    """Return the file `place`, or the files in the folder `place`, by name; there may be none. Backups do not count."""
    if not place.is_dir():
        return [place]
    return sorted(
        path
        for path in place.iterdir()
        if not path.name.startswith(".") and not path.name.endswith(_BACKUPS) and path.is_file()
    )


def token_texts(place: Path) -> dict[str, bytes]:
    """Return the content of each token file of `place`; raises `ConfigError`.

    A folder without files is rejected: a reader may see one while files are moved, and taking it for "no tokens" would
    reject every caller.
    """
    try:
        texts = {str(path): read_regular(path) for path in token_files(place)}
    except OSError as error:
        remedy = "`tokens_from` must name a readable file or folder"
        raise _unreadable(error.filename or place, error, remedy) from error
    except ValueError as error:  # a NUL, or half a character
        raise ConfigError(f"{str(place)!r}: not a valid path; correct `tokens_from`") from error
    if not texts:
        raise ConfigError(f"{place}: contains no file; add one with `tokens: []` to run without tokens")
    return texts


def _unreadable(place: Path | str, error: OSError, remedy: str) -> ConfigError:
    """Return the error for a file that cannot be read; what helps against a size is a division."""
    if error.errno == errno.EFBIG:
        remedy = "split it: `tokens_from` may name a folder of files"
    return ConfigError(f"{place}: {error.strerror}; {remedy}")

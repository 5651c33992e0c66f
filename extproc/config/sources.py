"""The files that a configuration is read from: gateway.yaml, and the token files that its `tokens_from` names.

Two places, because on Kubernetes organisations are a ConfigMap's and tokens a Secret's. Files whose names begin with
a dot do not count: they are how Kubernetes keeps the versions of a mounted folder.
"""

import errno
import stat
from pathlib import Path

from extproc.config.document import ConfigError

MAX_BYTES = 8 * 1024 * 1024
"""Largest gateway.yaml or token file: tens of thousands of tokens. YAML of that size takes some seconds."""


def read_regular(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return what is in a regular file of at most `limit` bytes.

    Raises `OSError` for everything else: a pipe would be waited for, and a device may have no end.
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
    """What is in gateway.yaml; raises `ConfigError`."""
    try:
        return read_regular(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a readable file with --config") from error


def token_files(place: Path) -> list[Path]:
    """The file `place`, or the files in the folder `place`, by name; there may be none."""
    if not place.is_dir():
        return [place]
    return sorted(path for path in place.iterdir() if not path.name.startswith(".") and path.is_file())


def token_texts(place: Path) -> dict[str, bytes]:
    """What is in each token file of `place`; raises `ConfigError`.

    A folder without any is refused: it is what is seen while files are moved, and taking it for "no tokens" would
    shut everybody out.
    """
    try:
        texts = {str(path): read_regular(path) for path in token_files(place)}
    except OSError as error:
        name = error.filename or place
        raise ConfigError(f"{name}: {error.strerror}; `tokens_from` is to name a readable file or folder") from error
    except ValueError as error:  # a NUL, or half a character
        raise ConfigError(f"{str(place)!r}: no file can be called so; mend `tokens_from`") from error
    if not texts:
        raise ConfigError(f"{place}: no file is in it; write `tokens: []` into one to run without tokens")
    return texts

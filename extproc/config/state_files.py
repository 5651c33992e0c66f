"""The files that a gateway writes: none is one that it reads, nor another that it writes.

In the folder of `tokens_from` each file is read as a token file: one that is written there makes every later reload
fail, so that revoked tokens go on.

Decision: docs/decisions.md, D244.
"""

from collections.abc import Mapping
from pathlib import Path

from extproc.config.document import ConfigError


def check_state_files(source: str, tokens_from: Path | None, files: Mapping[str, str | None]) -> None:
    """Check the paths of files, by the keys that name them. Raises `ConfigError`.

    They may be relative to that of gateway.yaml, `source`.
    """
    folder = Path(source).parent
    taken = {_real(Path(source), "gateway.yaml"): "gateway.yaml itself"}
    tokens = None if tokens_from is None else _real(tokens_from, "tokens_from")
    if tokens is not None:
        taken[tokens] = "what `tokens_from` names"
    for key, name in files.items():
        if name is None:
            continue
        path = _real(folder / name, key)
        if path in taken:
            raise ConfigError(f"{key}: this is {taken[path]}; name another file")
        if path.parent == tokens and not path.name.startswith("."):
            raise ConfigError(
                f"{key}: the file lies in the folder of `tokens_from`, where each file is read as a token file; "
                "name one in another folder"
            )
        taken[path] = f"the file of `{key}` as well"


def _real(path: Path, key: str) -> Path:
    """Return the path without links, as far as it exists."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; half a character
        raise ConfigError(f"{key}: not a valid path; correct it") from error

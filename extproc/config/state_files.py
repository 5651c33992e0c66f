"""The files that a gateway writes: none is one that it reads, nor another that it writes.

In the folder of `tokens_from` each file is read as a token file: one that is written there makes every later reload
fail, so that revoked tokens go on. Some files have others beside them, such as SQLite's log and locks, and what lies
beside the ledger and has its name with a number is read as a part of it.

Decision: docs/decisions.md, D244.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from extproc.config.document import ConfigError
from extproc.config.usage import ROTATED

if TYPE_CHECKING:
    from extproc.config import Settings

_SQLITE: Final = ("{}-wal", "{}-shm", "{}-journal", ".{}.lock")
_BESIDE: Final = {
    "last_used_in": (".{}.lock", ".{}.new"),
    "rate_limits.sqlite": _SQLITE,
    "budgets.sqlite": _SQLITE,
    "usage.sqlite": (*_SQLITE, ".{}.reader"),
}
"""The names of files that are written beside the one that a key names."""


def check_state_files(source: str, tokens_from: Path | None, settings: "Settings") -> None:
    """Check the paths of files, which may be relative to that of gateway.yaml, `source`. Raises `ConfigError`."""
    folder = Path(source).parent
    taken = {_real(Path(source), "gateway.yaml"): "gateway.yaml itself"}
    tokens = None if tokens_from is None else _real(tokens_from, "tokens_from")
    if tokens is not None:
        taken[tokens] = "what `tokens_from` names"
    places = {key: _real(folder / name, key) for key, name in _files(settings).items() if name is not None}
    for key, path in places.items():
        if path in taken:
            raise ConfigError(f"{key}: this is {taken[path]}; name another file")
        if path.parent == tokens and not path.name.startswith("."):
            raise ConfigError(
                f"{key}: the file lies in the folder of `tokens_from`, where each file is read as a token file; "
                "name one in another folder"
            )
        taken[path] = f"the file of `{key}` as well"
    for key, names in _BESIDE.items():
        for name in names if key in places else ():
            beside = places[key].with_name(name.format(places[key].name))
            if beside in taken:
                raise ConfigError(
                    f"{key}: `{beside.name}`, which is written beside it, is {taken[beside]}; name another file"
                )
    if "usage.ledger" in places:
        _check_rotated(places["usage.ledger"], taken)


def _check_rotated(ledger: Path, taken: dict[Path, str]) -> None:
    """Raise if another file has a name that a rotation gives to the ledger."""
    for path, owner in taken.items():
        rest = path.name.removeprefix(ledger.name)
        if path.parent == ledger.parent and path != ledger and rest != path.name and ROTATED.fullmatch(rest):
            raise ConfigError(f"usage.ledger: `{path.name}` is a name for it after a rotation, and {owner}; rename one")


def _files(settings: "Settings") -> dict[str, str | None]:
    """Return the files that are written or hold a secret, by their keys."""
    redis = settings.redis
    return {
        "redis.password_file": redis.password_file if redis else None,
        "redis.ca_file": redis.ca_file if redis else None,
        "last_used_in": settings.last_used_in,
        "rate_limits.sqlite": settings.rate_limits.sqlite,
        "budgets.sqlite": settings.budgets.sqlite,
        "usage.ledger": settings.usage.ledger,
        "usage.sqlite": settings.usage.sqlite,
    }


def _real(path: Path, key: str) -> Path:
    """Return the path without links, as far as it exists."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; half a character
        raise ConfigError(f"{key}: not a valid path; correct it") from error

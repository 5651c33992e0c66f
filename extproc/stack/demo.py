"""The configuration of a first try: one organisation, every model, one token that stays the same.

The token is a file that only its owner can read, made once, so that `$(cat .run/demo-token)` in a shell
is right tomorrow too.
"""

import os
import tempfile
from pathlib import Path

import yaml

from extproc.tenancy.api_keys import PREFIX, digest, new_token

TOKEN_FILE = Path(".run/demo-token")


class DemoError(Exception):
    """The demo token cannot be read or made; the message names the file and the remedy."""


def demo_token(path: Path = TOKEN_FILE) -> str:
    """Return the token in `path`, which is made if it is missing; raises `DemoError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DemoError(f"{path}: {error}; remove it, or name a configuration with --config") from error
    if not token.startswith(PREFIX):
        raise DemoError(f"{path}: holds no token; remove it and a new one is made")
    return token


def demo_config(token: str, region: str) -> str:
    """Return a gateway.yaml that lets `token` call every model of `region`."""
    document = {
        "region": region,
        "organisations": {"demo": {"models": {"allow": ["*"]}}},
        "tokens": [{"name": "demo", "sha256": digest(token), "organisations": ["demo"]}],
    }
    return yaml.safe_dump(document, sort_keys=False)


def _make(path: Path) -> None:
    """Write a new token to `path`, whole or not at all, unless there is one."""
    if path.exists():
        return
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(new_token() + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:  # another process was quicker: its token counts
        pass
    finally:
        Path(draft).unlink()

"""Where the commands of `token` read and change tokens: the files of a configuration, or the table that it names.

Decision: docs/decisions.md, D204.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from extproc import config
from extproc.cli.parameters import user_errors
from extproc.cli.token_files import TokenFiles, alone
from extproc.cli.token_items import TokenItems


class TokenStore(Protocol):
    """Tokens as they were read. Methods that change them raise `UserError`, and have changed nothing then."""

    @property
    def notice(self) -> str:
        """Return when running gateways notice a change, for messages."""

    @property
    def settings(self) -> config.Settings:
        """Return the settings, with the tokens and organisations that there are."""

    def last_used(self) -> Mapping[str, str] | None:
        """Return the minute of each token's last use by its hash, None where nobody writes that down."""

    def token(self, name: str) -> config.Token:
        """Return the token of this name; raises `UserError`."""

    def add(self, entry: Mapping[str, object]) -> str:
        """Add a token, whose name is new, and return where it is."""

    def remove(self, name: str) -> str:
        """Remove the token of this name, and return where it was."""

    def succeed(self, name: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
        """Add a token that has all of the one of this name but what is `new`, and give that what is `old`.

        None is for a key that is left out. Return where they are.
        """


def load_tokens(path: Path) -> TokenStore:
    """Read the tokens of a configuration; raises `UserError`."""
    files = TokenFiles.load(path)
    return files if files.settings.directory is None else TokenItems.load(files.settings)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[TokenStore]:
    """Read the tokens, and keep other such commands of this folder waiting until they are changed."""
    with user_errors(OSError), alone(path.resolve().parent):
        yield load_tokens(path)

"""The tokens of a table, as the commands of `token` read and change them.

Invariant: an item is changed only if it still has the text that was read; where a command fails, the tokens are as they
were, or the message names what is not.

Decision: docs/decisions.md, D204.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import msgspec

from extproc import config
from extproc.cli.parameters import UserError, user_errors
from extproc.cli.tenant_table import table_of
from extproc.cli.token_files import CHOOSE_ANOTHER, no_token
from extproc.config.faults import nearest
from extproc.config.items import (
    KEY,
    MINUTE,
    ORGANISATION,
    TOKEN,
    USED,
    VALUE,
    read_organisation,
    read_token,
    token_item,
)

if TYPE_CHECKING:
    from extproc.aws.sdk.table import DynamoDbTable


@dataclass(frozen=True, slots=True)
class TokenItems:
    """The tokens and organisations of a table as they were read."""

    table: "DynamoDbTable"
    texts: Mapping[str, str]
    """The text of each item by its key."""
    settings: config.Settings
    used: Mapping[str, str]
    """The minute of each token's last use, by its hash."""
    notice: str = "running gateways notice within a minute"

    @classmethod
    def load(cls, settings: config.Settings) -> "TokenItems":
        """Read the whole table; an item that cannot be used is named in a warning. Raises `UserError`."""
        from extproc.aws.sdk.table import TableError

        table = table_of(settings)
        texts: dict[str, str] = {}
        used: dict[str, str] = {}
        with user_errors(TableError):
            for item in table.scan():
                key = item[KEY]
                if key.startswith((TOKEN, ORGANISATION)):
                    texts[key] = item.get(VALUE, "")
                elif key.startswith(USED):
                    used[key.removeprefix(USED)] = item.get(MINUTE, "")
        return cls(table, texts, _read(settings, texts, table), used)

    def last_used(self) -> Mapping[str, str] | None:
        """Return the last uses in the table."""
        directory = self.settings.directory
        return self.used if self.used or (directory and directory.dynamodb.last_used) else None

    def token(self, name: str) -> config.Token:
        """Return the token of this name; raises `UserError` for none, and for several."""
        found = [token for token in self.settings.tokens if token.name == name]
        if not found:
            raise no_token(name, self.settings.tokens, str(self.table))
        if len(found) > 1:
            keys = " and ".join(TOKEN + token.sha256 for token in found)
            raise UserError(f"{self.table}: the items {keys} have the name {name!r}; delete all but one of them")
        return found[0]

    def add(self, entry: Mapping[str, object]) -> str:
        """Write the item of a new token."""
        token = msgspec.convert(entry, config.Token)
        if any(each.name == token.name for each in self.settings.tokens):
            raise UserError(f"{self.table}: a token has the name {token.name!r} already; {CHOOSE_ANOTHER}")
        for name in token.organisations:
            if name not in self.settings.organisations:
                known = nearest(name, self.settings.organisations)
                remedy = "write it first, with `oai-extproc directory import`"
                raise UserError(f"{self.table}: no organisation {name!r}{known}; {remedy}")
        self._add(token)
        return str(self.table)

    def remove(self, name: str) -> str:
        """Delete the item of the token `name`."""
        from extproc.aws.sdk.table import TableError

        token = self.token(name)
        key = TOKEN + token.sha256
        with user_errors(TableError):
            self.table.remove(key, self.texts[key])
        if token.sha256 in self.used:
            with contextlib.suppress(TableError):  # the token is gone, which is what counts
                self.table.forget_use(token.sha256)
        return str(self.table)

    def succeed(self, name: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
        """Write the successor's item, and then change that of the token `name`.

        In this order, because a command that is interrupted leaves an old key that works, and a new one nobody has.
        """
        from extproc.aws.sdk.table import TableError

        before = self.token(name)
        key, ended = TOKEN + before.sha256, msgspec.structs.replace(before, **old)
        successor = msgspec.structs.replace(before, **new)
        self._add(successor)
        try:
            self.table.replace(key, self.texts[key], token_item(ended)[VALUE])
        except TableError as error:
            self._take_back(successor)
            raise UserError(f"{error}; there is no new key yet") from error
        return str(self.table)

    def _add(self, token: config.Token) -> None:
        """Write a new item that passes the gateway's checks; raises `UserError`."""
        from extproc.aws.sdk.table import TableError

        item = token_item(token)
        with user_errors(TableError, config.ConfigError):
            read_token(item[KEY], item[VALUE])
            self.table.add(item)

    def _take_back(self, token: config.Token) -> None:
        """Delete an item that was just written; raises `UserError` that names it."""
        from extproc.aws.sdk.table import TableError

        item = token_item(token)
        try:
            self.table.remove(item[KEY], item[VALUE])
        except TableError as error:
            raise UserError(
                f"{error}; delete the item {item[KEY]}, the new key of {token.name!r}, which nobody has"
            ) from error


def _read(settings: config.Settings, texts: Mapping[str, str], table: "DynamoDbTable") -> config.Settings:
    """Return the settings with the tokens, by name, and the organisations in `texts`."""
    tokens, organisations = [], {}
    for key, text in texts.items():
        try:
            if key.startswith(TOKEN):
                tokens.append(read_token(key, text))
            else:
                organisations[key.removeprefix(ORGANISATION)] = read_organisation(key, text)
        except config.ConfigError as error:
            click.echo(f"warning: {table}: an item that no gateway can use is left out: {error}", err=True)
    in_order = tuple(sorted(tokens, key=lambda token: (token.name, token.sha256)))
    return msgspec.structs.replace(settings, tokens=in_order, organisations=organisations)

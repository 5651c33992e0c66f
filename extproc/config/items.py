"""Tokens and organisations as items of a table.

| key (`pk`)           | `json`                                                        |
|----------------------|---------------------------------------------------------------|
| `token#<sha256>`     | an entry of `tokens`, as in gateway.yaml                      |
| `org#<machine name>` | the value of a key of `organisations`, as in gateway.yaml     |

A third kind of item, `used#<sha256>`, has `minute`: when a token was used last, as in `2026-11-30T09:05Z`.

Invariant: what `read_token` and `read_organisation` return passes the checks that gateway.yaml has to pass, and belongs
to the key; anything else is a `ConfigError`.

Decision: docs/decisions.md, D195.
"""

import json
from typing import TypeVar

import msgspec

from extproc.config import ConfigError, Organisation, Token, check_organisation, check_patterns
from extproc.config.aliases import check_aliases
from extproc.config.budgets import check_budgets

Kind = TypeVar("Kind")

KEY = "pk"
VALUE = "json"
"""The attributes of an item, both of them strings."""

TOKEN = "token#"  # noqa: S105 - the prefix of keys
ORGANISATION = "org#"
USED = "used#"

MINUTE = "minute"
"""The attribute of a token's last use."""

MAX_BYTES = 400 * 1024
"""Largest item of DynamoDB."""

_TOKEN = msgspec.json.Decoder(Token)
_ORGANISATION = msgspec.json.Decoder(Organisation)


def token_item(token: Token) -> dict[str, str]:
    """Return the item of a token."""
    return {KEY: TOKEN + token.sha256, VALUE: _encode(token)}


def organisation_item(name: str, organisation: Organisation) -> dict[str, str]:
    """Return the item of an organisation."""
    return {KEY: ORGANISATION + name, VALUE: _encode(organisation)}


def read_token(key: str, text: str) -> Token:
    """Return the token in `text`, the value of the item `key`. Raises `ConfigError`."""
    token = _decode(_TOKEN, key, text)
    if TOKEN + token.sha256 != key:
        raise ConfigError(f"{key}: `sha256` is {token.sha256}, which is another token's key")
    if len(set(token.organisations)) != len(token.organisations):
        raise ConfigError(f"{key}: `organisations` has a name twice; keep one")
    if token.models is not None:
        check_patterns(token.models, key)
    check_budgets(token.budgets, f"{key}: budgets")
    return token


def read_organisation(key: str, text: str) -> Organisation:
    """Return the organisation in `text`, the value of the item `key`. Raises `ConfigError`."""
    organisation = _decode(_ORGANISATION, key, text)
    name = key.removeprefix(ORGANISATION)
    check_organisation(name, organisation)
    check_aliases({}, {name: organisation.aliases})
    return organisation


def _encode(value: Token | Organisation) -> str:
    """Return the JSON of those fields that differ from their defaults: an older gateway knows no newer field."""
    fields = msgspec.structs.fields(value)
    kept = {field.encode_name: getattr(value, field.name) for field in fields if not _is_default(field, value)}
    return msgspec.json.encode(kept).decode()


def _is_default(field: msgspec.structs.FieldInfo, value: Token | Organisation) -> bool:
    content: object = getattr(value, field.name)
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(content == field.default_factory())
    return field.default is not msgspec.NODEFAULT and bool(content == field.default)


def _decode(decoder: msgspec.json.Decoder[Kind], key: str, text: str) -> Kind:
    try:
        value = decoder.decode(text)
        json.loads(text, object_pairs_hook=_check_keys)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{key}: {error}") from None
    return value


def _check_keys(pairs: list[tuple[str, object]]) -> None:
    """Raise `ValueError` for a key that is repeated: JSON's readers take the last, and somebody reads the first."""
    keys: set[str] = set()
    for name, _ in pairs:
        if name in keys:
            raise ValueError(f"the key `{name}` is repeated; keep one")
        keys.add(name)

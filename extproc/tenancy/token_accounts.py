"""The name by which a token's rates and budgets are counted: it stays the same when the token gets a new key.

`oai-extproc token rotate` renames the old key to `NAME-until-DATE`, and the new one has the name. Both count as one.

Decision: docs/decisions.md, D248.
"""

import re
from typing import Final

from extproc.config.tokens import Token

_UNTIL: Final = re.compile(r"(?:-until-[0-9]{4}-[0-9]{2}-[0-9]{2}(?:-[0-9]{1,9})?)+\Z")


def account_of(token: Token, organisation: str) -> str:
    """Return the name, for a call of the token for the organisation.

    A token counts as one in all of its organisations, of which the first one is in the name. The signed tokens of a
    subject, which have no hash, count as one in each organisation: another's issuer may have a subject of that name.
    """
    if not token.sha256:
        return f"signed {organisation} {token.name}"
    return f"token {token.organisations[0] if token.organisations else organisation} {original_name(token.name)}"


def original_name(name: str) -> str:
    """Return the name that a token had before it was renamed by rotations."""
    if "-until-" not in name:
        return name
    return _UNTIL.sub("", name) or name

"""The stores of tokens and organisations: a protocol, and the store of a gateway.yaml (`table_store` has the other).

A store answers from memory. One that has to ask elsewhere first returns `NOT_CACHED`; then the exchange waits for a
`Lookup`, and goes on with its result: `LookedUp`, which is a store as well, or `Unavailable`.
"""

from typing import Final, Protocol

from extproc import config
from extproc.value import Value


class NotCached(Value, frozen=True):
    """The result for a key of which a store knows nothing yet, not even that there is none."""


NOT_CACHED: Final = NotCached()


class Store(Protocol):
    """Tokens by their hashes, and organisations by their names. None is returned where there is none."""

    def token(self, sha256: str, now: float) -> config.Token | NotCached | None:
        """Return the token with this SHA-256, in lower-case hex; `now` is in Unix seconds."""

    def organisation(self, name: str, now: float) -> config.Organisation | NotCached | None:
        """Return the organisation of this machine name."""


class FileStore:
    """The tokens and organisations of a gateway.yaml and its token files."""

    def __init__(self, settings: config.Settings) -> None:
        self._organisations = settings.organisations
        self._tokens = {token.sha256: token for token in settings.tokens}

    def token(self, sha256: str, now: float) -> config.Token | None:
        """Return the token with this SHA-256."""
        return self._tokens.get(sha256)

    def organisation(self, name: str, now: float) -> config.Organisation | None:
        """Return the organisation of this machine name."""
        return self._organisations.get(name)


class Lookup(Value, frozen=True):
    """A token to look up by its SHA-256, and the organisation of it that a request needs.

    `organisation` is the value of the request's header, "" without one: then it is the token's only organisation.
    Without a `sha256`, for a signed token, it is that organisation alone.
    """

    sha256: str
    organisation: str = ""


class LookedUp(Value, frozen=True):
    """The result of a lookup: the token, and the organisation called `name` where the request needs one."""

    found: config.Token | None = None
    name: str = ""
    settings: config.Organisation | None = None

    def token(self, sha256: str, now: float) -> config.Token | None:
        """Return the token that was looked up."""
        return self.found

    def organisation(self, name: str, now: float) -> config.Organisation | None:
        """Return the organisation that was looked up, None for any other."""
        return self.settings if name == self.name else None


class Unavailable(Value, frozen=True):
    """The failure of a lookup: the store does not answer, or is asked for too many unknown tokens (`busy`)."""

    busy: bool = False


LookupResult = LookedUp | Unavailable


def needed(token: config.Token, header: str) -> str:
    """Return the organisation that a request with this token and header needs, "" where it will be rejected."""
    if header:
        return header if header in token.organisations else ""
    return token.organisations[0] if len(token.organisations) == 1 else ""

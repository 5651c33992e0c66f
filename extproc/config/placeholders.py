"""Tokens of the documentation's pages, which stay in a gateway.yaml that was copied from there."""

from extproc.config import Settings

_ZEROS = "0" * 63
"""Start of the SHA-256 of all placeholders in pages: no token has such a one."""

_EARLIER_PAGES = frozenset(
    {
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    }
)
"""Placeholders of version 0.1: the SHA-256 of words that are no tokens."""


def placeholders(settings: Settings) -> list[str]:
    """Return the names of tokens whose SHA-256 is a placeholder."""
    return [
        token.name for token in settings.tokens if token.sha256.startswith(_ZEROS) or token.sha256 in _EARLIER_PAGES
    ]

"""API keys of this gateway, called tokens: made, hashed, and read from a request.

A token is `qc_` and 43 url-safe characters (256 random bits). Only its SHA-256 is stored, so that the configuration
does not reveal it; with that much entropy a slow password hash would add cost and no safety.

A token is looked up by its SHA-256 in a dictionary, and is itself compared with nothing. The dictionary compares two
digests only if their 64-bit hashes are equal, which Python salts in each process. So the time of a lookup tells nothing
about how much of a guess is right; and even a whole digest, if it leaked, leads back to no token of 256 random bits.
That is why no constant-time comparison follows the lookup.

Invariant: no message contains a whole token; at most its last four characters, and only if enough others stay hidden.
"""

import hashlib
import re
import secrets

PREFIX = "qc_"

MAX_LENGTH = 512

_TOKEN = re.compile(rf"{PREFIX}[!-~]{{1,{MAX_LENGTH - len(PREFIX)}}}")
"""Printable ASCII without blanks. Not exactly 43 characters: an operator may keep tokens of an earlier system."""


def new_token() -> str:
    """Return a fresh token, to be shown once and stored as its `digest`."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Return the SHA-256 of a whole token, `qc_` included, in lower-case hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse_bearer(authorization: str) -> str | None:
    """Return the token in an `Authorization` header, None if there is none of this gateway's form.

    The scheme is `Bearer` in any case (RFC 9110 section 11.1), then blanks, then the token.
    """
    scheme, _, token = authorization.strip(" \t").partition(" ")
    token = token.lstrip(" ")
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
        return None
    return token


def masked(token: str) -> str:
    """Return the part of a token that a message may contain, with which its owner recognises it, as OpenAI does."""
    return f"{PREFIX}…{token[-4:]}" if len(token) >= 24 else f"{PREFIX}…"

"""Tokens: how one is made, written down, and read from a request.

A token is `qc_` and 43 url-safe characters (256 random bits). Only its SHA-256 is ever stored, so nobody who reads
the configuration can use it; with that much entropy a slow password hash would add cost and no safety.

Invariant: a token is never part of a message, whole; at most its last four characters are, and only when enough
others stay hidden.
"""

import hashlib
import re
import secrets

PREFIX = "qc_"

MAX_LENGTH = 512

_TOKEN = re.compile(rf"{PREFIX}[!-~]{{1,{MAX_LENGTH - len(PREFIX)}}}")
"""Printable ASCII without blanks. Not exactly 43 characters: an operator may bring older tokens along."""


def new_token() -> str:
    """A fresh token. Show it once, keep `digest` of it."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token: the SHA-256 of all of it, `qc_` included, in lower-case hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse_bearer(authorization: str) -> str | None:
    """The token in an `Authorization` header, or None if there is none that could be ours.

    The scheme is `Bearer` in any case (RFC 9110 section 11.1), then blanks, then the token.
    """
    scheme, _, token = authorization.strip(" \t").partition(" ")
    token = token.lstrip(" ")
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
        return None
    return token


def masked(token: str) -> str:
    """The token as a message may show it: enough to tell which of one's own it is, as OpenAI does."""
    return f"{PREFIX}…{token[-4:]}" if len(token) >= 24 else f"{PREFIX}…"

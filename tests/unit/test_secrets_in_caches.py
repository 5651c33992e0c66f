"""Nothing secret is in a cache: rotated credentials are gone from the process once others have signed."""

import functools
import gc
from collections.abc import Iterator

import pytest

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.sigv4 import Signer
from extproc.exchange.directives import Forward
from extproc.transport import messages

SIGNER = Signer("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com")
NEXT = Credentials("AKIDNEXT", "next-secret", "next-session")


def forward(identity: Credentials | BearerToken) -> None:
    """Sign a request and encode it for Envoy, as a worker does."""
    headers = SIGNER.sign(identity, "/model/m/converse", b"{}", (("content-type", "application/json"),), 1.0)
    messages.forwarded(Forward("/model/m/converse", "bedrock", headers, b"{}"))


def texts_from(root: object) -> Iterator[bytes]:
    """Yield the strings and bytes that `root` holds, however deep."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        for held in gc.get_referents(waiting.pop()):
            if isinstance(held, str):
                yield held.encode(errors="replace")
            elif isinstance(held, bytes):
                yield held
            elif id(held) not in seen and isinstance(held, tuple | list | dict | set | frozenset):
                seen.add(id(held))
                waiting.append(held)


def all_caches() -> list[object]:
    kind = type(functools.lru_cache(len))
    return [held for held in gc.get_objects() if isinstance(held, kind)]


def test_the_walk_reaches_every_text_in_a_cache() -> None:
    cached = functools.lru_cache(lambda text: text.encode() + b" seen")
    cached("a key")

    assert {b"a key", b"a key seen"} <= set(texts_from(cached))
    assert cached in all_caches()


@pytest.mark.parametrize("identity", [Credentials("AKIDOLD", "old-secret", "old-session"), BearerToken("old-bearer")])
def test_no_cache_holds_a_secret(identity: Credentials | BearerToken) -> None:
    forward(identity)

    cached_texts = [text for cache in all_caches() for text in texts_from(cache)]

    assert cached_texts
    assert not [text for text in cached_texts if b"old-" in text]


@pytest.mark.parametrize("identity", [NEXT, BearerToken("next")])
def test_a_signer_forgets_the_key_of_rotated_credentials(identity: Credentials | BearerToken) -> None:
    forward(Credentials("AKIDOLD", "old-secret"))
    key = SIGNER._signing_key.key
    assert key

    forward(identity)

    assert SIGNER._signing_key.key != key
    assert b"old-secret" not in list(texts_from(SIGNER._signing_key))

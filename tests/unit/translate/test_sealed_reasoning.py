"""Sealed reasoning: opened where it was sealed, and nowhere else."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.openai.messages import RedactedThinkingBlock, ThinkingBlock
from extproc.translate.sealed_reasoning import ReasoningSeal

OLD, NEW = b"o" * 32, b"n" * 32
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "eHk="}


def test_a_block_comes_back_as_it_was() -> None:
    seal = ReasoningSeal((NEW,))
    assert seal.open(seal.seal(THINKING, "m"), "m") == ThinkingBlock("Hm.", "c2ln")
    assert seal.open(seal.seal(REDACTED, "m"), "m") == RedactedThinkingBlock("eHk=")


def test_the_first_key_seals_and_all_open() -> None:
    before, after = ReasoningSeal((OLD,)), ReasoningSeal((NEW, OLD))
    assert after.open(before.seal(THINKING, "m"), "m") is not None
    assert before.open(after.seal(THINKING, "m"), "m") is None


def test_another_models_block_is_not_opened() -> None:
    seal = ReasoningSeal((NEW,))
    assert seal.open(seal.seal(THINKING, "m"), "n") is None


@pytest.mark.parametrize("text", ["", "v1.", "v1.!", "v1.é", "v2.eA==", "gAAAAABo", "v1." + "eA==" * 20, "v1.\ud800"])
def test_what_was_never_sealed_is_not_opened(text: str) -> None:
    assert ReasoningSeal((NEW,)).open(text, "m") is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"model":"m"}', b'{"model":"m","block":{"type":"odd"}}', b"\xff"])
def test_what_is_no_block_is_not_opened_even_with_the_key(content: bytes) -> None:
    """The only token of a gateway is all of the derived key."""
    sealed = base64.b64encode(hmac.digest(NEW, content, "sha256") + content).decode()
    assert ReasoningSeal((NEW,)).open(f"v1.{sealed}", "m") is None


@given(st.data())
def test_a_changed_byte_is_not_opened(data: st.DataObject) -> None:
    seal = ReasoningSeal((NEW,))
    content = bytearray(base64.b64decode(seal.seal(THINKING, "m").removeprefix("v1.")))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert seal.open("v1." + base64.b64encode(content).decode(), "m") is None

"""gRPC's messages in the data of a stream."""

import pytest

from extproc.transport.http2 import framing
from extproc.transport.http2.framing import CallError, Messages, Status

LIMIT = 1000


@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_a_message_cut_anywhere(size):
    data = framing.prefix(size) + bytes(size)
    for cut in range(len(data)):
        messages, read_messages = Messages(LIMIT), []
        messages.feed(data[:cut], read_messages)
        assert messages.partial is (cut > 0)
        messages.feed(data[cut:] + data, read_messages)
        assert read_messages == [bytes(size)] * 2
        assert not messages.partial


def test_the_limit_is_looked_at_before_the_message_is_there():
    with pytest.raises(CallError) as raised:
        Messages(LIMIT).feed(framing.prefix(LIMIT + 1), [])
    assert raised.value.status is Status.RESOURCE_EXHAUSTED


def test_a_large_message_is_not_copied_to_be_sent():
    large, small = bytes(100_000), b"s"
    pieces = framing.framed([small, large, small, small])
    assert any(piece is large for piece in pieces)
    assert len(pieces) == 3
    whole, read_messages = Messages(1 << 20), []
    whole.feed(b"".join(pieces), read_messages)
    assert read_messages == [small, large, small, small]


@pytest.mark.parametrize(
    ("message", "sent"), [("plain text", "plain text"), ("100 %", "100 %25"), ("é\n", "%C3%A9%0A"), ("", "")]
)
def test_grpc_message_is_percent_encoded(message, sent):
    assert framing.percent_encoded(message) == sent

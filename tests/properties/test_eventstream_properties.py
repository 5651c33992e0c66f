"""The event-stream decoder against botocore's, over streams that are whole, cut, damaged and made up."""

from struct import pack
from zlib import crc32

from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given
from hypothesis import strategies as st

from extproc.bedrock.eventstream import Decoder, EventStreamError

Messages = list[tuple[dict[str, object], bytes]]


def frame(headers: bytes, payload: bytes) -> bytes:
    """Return a message with valid lengths and checksums, and any content."""
    prelude = pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + pack(">I", crc32(prelude)) + headers + payload
    return message + pack(">I", crc32(message))


def header(name: str, typed: tuple[int, bytes]) -> bytes:
    return bytes([len(name.encode())]) + name.encode() + bytes([typed[0]]) + typed[1]


def sized(value: bytes) -> bytes:
    return pack(">H", len(value)) + value


values = st.one_of(
    st.sampled_from([(0, b""), (1, b"")]),
    st.binary(min_size=1, max_size=1).map(lambda raw: (2, raw)),
    st.binary(min_size=2, max_size=2).map(lambda raw: (3, raw)),
    st.binary(min_size=4, max_size=4).map(lambda raw: (4, raw)),
    st.binary(min_size=8, max_size=8).map(lambda raw: (5, raw)),
    st.binary(max_size=50).map(lambda raw: (6, sized(raw))),
    st.text(max_size=50).map(lambda text: (7, sized(text.encode()))),
    st.binary(min_size=8, max_size=8).map(lambda raw: (8, raw)),
    st.binary(min_size=16, max_size=16).map(lambda raw: (9, raw)),
)
blocks = st.dictionaries(st.text(max_size=20), values, max_size=6).map(
    lambda headers: b"".join(header(name, typed) for name, typed in headers.items())
)
frames = st.builds(frame, blocks, st.binary(max_size=200))
streams = st.lists(frames, max_size=5).map(b"".join)
almost = st.lists(st.builds(frame, blocks | st.binary(max_size=40), st.binary(max_size=40)), max_size=4).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    stream = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(stream)


anything = st.one_of(streams, almost, damaged(), st.binary(max_size=200))


def decode(pieces: list[bytes]) -> tuple[Messages, bool]:
    """Return the messages in these pieces, and true if an error came after them."""
    decoder = Decoder()
    messages: Messages = []
    try:
        for piece in [*pieces, b""]:
            messages += [(dict(message.headers), message.payload) for message in decoder.feed(piece)]
    except EventStreamError:
        return messages, True
    return messages, False


def botocore_decodes(data: bytes) -> Messages:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@given(anything)
def test_feed_yields_messages_or_raises_event_stream_error_for_any_bytes(
    data: bytes,
) -> None:
    decode([data])


@given(anything, st.data())
def test_the_same_bytes_yield_the_same_messages_however_they_are_cut(data: bytes, draw: st.DataObject) -> None:
    whole = decode([data])
    assert decode([data[at : at + 1] for at in range(len(data))]) == whole
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    assert decode([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == whole


@given(st.lists(anything))
def test_the_buffer_never_exceeds_one_unfinished_message(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        before = decoder.pending
        try:
            decoder.feed(piece)
        except EventStreamError:
            assert decoder.pending <= before + len(piece)
            return
        kept = bytes(decoder._buffer)
        assert len(kept) < 16 or decoder._failure or len(kept) < int.from_bytes(kept[:4])


@given(streams, st.binary(max_size=11))
def test_a_good_stream_yields_the_messages_that_botocore_yields(data: bytes, begun: bytes) -> None:
    assert decode([data + begun]) == (botocore_decodes(data), False)


@given(almost | damaged())
def test_a_bad_stream_yields_no_message_that_botocore_would_not_yield(data: bytes) -> None:
    messages, failed = decode([data])
    if not failed:
        assert messages == botocore_decodes(data)


@given(damaged())
def test_bytes_that_botocore_rejects_are_rejected(data: bytes) -> None:
    try:
        botocore_decodes(data)
    except ParserError:
        assert decode([data])[1]

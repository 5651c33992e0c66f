"""The event-stream decoder, message by message."""

from struct import pack
from zlib import crc32

import pytest

from extproc.bedrock.eventstream import Decoder, EventStreamError, Message
from extproc.build import compiled

DELTA = {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"}


def frame(headers: bytes = b"", payload: bytes = b"") -> bytes:
    prelude = pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + pack(">I", crc32(prelude)) + headers + payload
    return message + pack(">I", crc32(message))


def prelude(total: int, headers: int) -> bytes:
    lengths = pack(">II", total, headers)
    return lengths + pack(">I", crc32(lengths))


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def strings(headers: dict[str, str]) -> bytes:
    return b"".join(header(name, 7, pack(">H", len(value)) + value.encode()) for name, value in headers.items())


def broken(message: bytes, at: int) -> bytes:
    return message[:at] + bytes([message[at] ^ 0x01]) + message[at + 1 :]


def test_a_message_as_bedrock_sends_it() -> None:
    decoder = Decoder()
    assert decoder.feed(frame(strings(DELTA), b'{"delta":{"text":"Hi"}}')) == [
        Message(DELTA, b'{"delta":{"text":"Hi"}}')
    ]
    assert decoder.pending == 0
    decoder.close()


def test_all_ten_types_of_header() -> None:
    block = b"".join(
        [
            header("true", 0, b""),
            header("false", 1, b""),
            header("byte", 2, pack(">b", -1)),
            header("short", 3, pack(">h", -300)),
            header("integer", 4, pack(">i", -70_000)),
            header("long", 5, pack(">q", -(2**40))),
            header("bytes", 6, pack(">H", 3) + b"\x00\xff\x80"),
            header("string", 7, pack(">H", 3) + "é!".encode()),
            header("timestamp", 8, pack(">q", 1_790_000_000_000)),
            header("uuid", 9, bytes(range(16))),
        ]
    )
    (message,) = Decoder().feed(frame(block))
    assert dict(message.headers) == {
        "true": True,
        "false": False,
        "byte": -1,
        "short": -300,
        "integer": -70_000,
        "long": -(2**40),
        "bytes": b"\x00\xff\x80",
        "string": "é!",
        "timestamp": 1_790_000_000_000,
        "uuid": bytes(range(16)),
    }


def test_messages_may_be_joined_and_cut() -> None:
    decoder = Decoder()
    one, two = frame(payload=b"one"), frame(payload=b"two")
    assert [m.payload for m in decoder.feed(one + two + one[:5])] == [b"one", b"two"]
    assert decoder.pending == 5
    assert [m.payload for m in decoder.feed(one[5:])] == [b"one"]


def test_messages_with_equal_headers_share_them_read_only() -> None:
    first, second = Decoder().feed(frame(strings(DELTA)) * 2)
    assert first.headers is second.headers
    with pytest.raises(TypeError):
        first.headers[":event-type"] = "messageStop"  # type: ignore[index]


def test_headers_too_long_to_be_kept_are_read_each_time() -> None:
    long = {"name": "x" * 5_000}
    first, second = Decoder().feed(frame(strings(long)) * 2)
    assert first.headers == second.headers == long
    assert first.headers is not second.headers


@pytest.mark.parametrize(
    ("data", "error_text"),
    [
        (broken(frame(), 0), "checksum of a prelude"),
        (broken(frame(payload=b"payload"), 14), "checksum of a message"),
        (broken(frame(strings(DELTA)), 20), "checksum of a message"),
        (prelude(15, 0), "impossible lengths"),
        (prelude(20, 5), "impossible lengths"),
        (prelude(16 + 128 * 1024 + 1, 128 * 1024 + 1), "impossible lengths"),
        (prelude(16 + 8 * 1024 * 1024 + 1, 0), "impossible lengths"),
        (frame(strings(DELTA) * 2), "':event-type' is repeated"),
        (frame(header("yes", 0, b"") * 2), "'yes' is repeated"),
        (frame(header("odd", 10, b"")), "unknown header type 10"),
        (frame(b"\x05nam"), "2 bytes are missing"),
        (frame(b"\x04name"), "malformed headers"),
        (frame(header("n", 4, b"\x00\x00")), "malformed headers"),
        (frame(header("n", 7, b"\x00")), "malformed headers"),
        (frame(header("n", 7, b"\x00\x05abc")), "2 bytes are missing"),
        (frame(header("n", 9, bytes(15))), "1 bytes are missing"),
        (frame(header("n", 7, b"\x00\x01\xff")), "malformed headers"),
        (frame(b"\x01\xff\x00"), "malformed headers"),
        (b'{"message":"not an event stream"}', "checksum of a prelude"),
    ],
)
def test_bytes_that_are_no_event_stream_are_a_lasting_error(data: bytes, error_text: str) -> None:
    decoder = Decoder()
    with pytest.raises(EventStreamError, match=error_text):
        decoder.feed(data)
    with pytest.raises(EventStreamError, match=error_text):
        decoder.feed(frame())
    with pytest.raises(EventStreamError, match=error_text):
        decoder.close()


def test_a_bad_length_is_an_error_before_the_message_is_there() -> None:
    decoder = Decoder()
    bad = prelude(2**32 - 1, 0)
    assert decoder.feed(bad[:11]) == []
    with pytest.raises(EventStreamError):
        decoder.feed(bad[11:])


def test_messages_before_the_bad_bytes_are_not_lost() -> None:
    decoder = Decoder()
    assert [m.payload for m in decoder.feed(frame(payload=b"good") + broken(frame(), 0))] == [b"good"]
    with pytest.raises(EventStreamError, match="prelude"):
        decoder.feed(b"")


def test_a_stream_that_ends_within_a_message_is_an_error() -> None:
    decoder = Decoder()
    decoder.feed(frame()[:-1])
    assert decoder.pending == 15
    with pytest.raises(EventStreamError, match="after 15 bytes"):
        decoder.close()


def test_the_largest_message_there_may_be() -> None:
    payload = bytes(8 * 1024 * 1024)
    (message,) = Decoder().feed(frame(header("n", 6, pack(">H", 65_535) + bytes(65_535)), payload))
    assert len(message.payload) == len(payload)


@pytest.mark.skipif(compiled(), reason="what is compiled cannot be replaced, and so not be counted")
def test_a_large_message_in_small_pieces_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding is linear: until the message is whole, a piece costs no more than itself."""
    decoder = Decoder()
    looks = 0
    take = decoder._decode

    def counted(data: bytes) -> list[Message]:
        nonlocal looks
        looks += 1
        return take(data)

    monkeypatch.setattr(decoder, "_decode", counted)
    data = frame(payload=bytes(1_000_000))
    messages = [m for at in range(0, len(data), 100) for m in decoder.feed(data[at : at + 100])]
    assert [len(m.payload) for m in messages] == [1_000_000]
    assert looks == 2  # the prelude, the message

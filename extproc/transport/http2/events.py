"""The events of a connection, and the limits of a client. Named for the wire. Don't subclass."""

from dataclasses import dataclass
from typing import NamedTuple

from extproc.transport.http2.fields import RequestFields


class HeadersReceived(NamedTuple):
    """A stream that the client opened."""

    stream_id: int
    request: RequestFields


class DataReceived:
    """Data of a stream (maybe none); `ended` if the client ended its side with it.

    No named tuple like the others: it comes with each frame, and those are made by Python's own code.
    """

    __slots__ = ("data", "ended", "stream_id")

    def __init__(self, stream_id: int, data: bytes, ended: bool) -> None:
        self.stream_id = stream_id
        self.data = data
        self.ended = ended

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataReceived):
            return NotImplemented
        return self.stream_id == other.stream_id and self.data == other.data and self.ended == other.ended


class StreamReset(NamedTuple):
    """A stream that the client reset, or that was reset for a stream error. Data queued for it is dropped."""

    stream_id: int
    code: int


Event = HeadersReceived | DataReceived | StreamReset


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one client.

    Windows and frames are no smaller than HTTP/2's defaults, which a client goes by until it has read our settings.
    Envoy opens no more streams on a connection than these, and another connection instead (since 1.36). Messages that
    are not whole take at most `streams * stream_window` and `held_bytes`; see `receive_window`.
    """

    streams: int = 1024
    stream_window: int = 1 << 17
    connection_window: int = 16 << 20
    frame_bytes: int = 65_536
    header_bytes: int = 65_536
    queue_bytes: int = 4 << 20
    held_bytes: int = 64 << 20

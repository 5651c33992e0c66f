"""What a connection tells of its client, and how much a client may do. Small, named for the wire. Don't subclass."""

from dataclasses import dataclass
from typing import NamedTuple

from extproc.transport.http2.fields import RequestFields


class HeadersReceived(NamedTuple):
    """The client opened a stream."""

    stream_id: int
    request: RequestFields


class DataReceived(NamedTuple):
    """The client sent `data` (maybe none) on a stream, and `ended` its side of it or not."""

    stream_id: int
    data: bytes
    ended: bool


class StreamReset(NamedTuple):
    """The client reset a stream, or broke a rule on it and was told so. It is gone, and what was to be sent with it."""

    stream_id: int
    code: int


Event = HeadersReceived | DataReceived | StreamReset


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much one client may have and send.

    Windows and frames are no smaller than HTTP/2's defaults, which a client goes by until it has read our settings.
    Envoy opens no more streams on a connection than these, and another connection instead (since 1.36). What is held
    of messages that are not whole is at most `streams * stream_window` and `held_bytes`; see `receive_window`.
    """

    streams: int = 1024
    stream_window: int = 1 << 17
    connection_window: int = 16 << 20
    frame_bytes: int = 65_536
    header_bytes: int = 65_536
    queue_bytes: int = 4 << 20
    held_bytes: int = 64 << 20

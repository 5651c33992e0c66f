"""The gRPC transport without a gRPC library: one asyncio protocol, for a peer that is Envoy.

```
bytes   ──> incoming    Incoming.frames(bytes) -> frames                                      no I/O
frame   ──> connection  RFC 9113: Connection.receive(bytes) -> [HeadersReceived | DataReceived | StreamReset]
DATA    ──> framing     gRPC: Messages.feed(bytes) -> messages                                no I/O
message ──> session     one turn a read: ExtProcStream.receive_all(messages) -> messages      no I/O
            server      sockets, tasks and the clock
```
`frames` and `fields` are what goes over the wire, `events` what is told of it, `receive_window` what the client may
still send, `flood` how many frames without use it may send, and `outgoing` what waits until we may.
"""

from extproc.transport.http2.server import Http2Server as Http2Server

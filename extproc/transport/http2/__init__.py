"""The gRPC transport without a gRPC library: one asyncio protocol, for a peer that is Envoy.

```
bytes   ──> incoming    Incoming.feed(bytes), Incoming.next() -> frames                       no I/O
frame   ──> connection  RFC 9113: Connection.receive(bytes) -> [HeadersReceived | DataReceived | StreamReset]
DATA    ──> framing     gRPC: Messages.feed(bytes) -> messages                                no I/O
message ──> session     one turn a read: ExtProcStream.receive_all(messages) -> messages      no I/O
            server      sockets, tasks and the clock
```
`frames` and `fields` encode and decode, `events` are the events of a connection, `receive_window` bounds what the
client may send, `flood` its frames without use, and `outgoing` queues what the client's windows do not allow yet.
"""

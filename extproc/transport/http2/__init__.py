"""The gRPC transport without a gRPC library: one asyncio protocol, for a peer that is Envoy.

```
bytes  ──> connection  RFC 9113: Connection.receive(bytes) -> [Opened | Data | Reset]     no I/O
Data   ──> framing     gRPC: Messages.feed(bytes) -> messages                             no I/O
message ─> session     one turn a read: Stream.receive_all(messages) -> messages          no I/O
           server      sockets, tasks and the clock
```
`frames` and `fields` are what goes over the wire, `outgoing` is what waits for the client's window.
"""

from extproc.transport.http2.server import Server as Server

"""A server in Bedrock's place that records the requests which arrive, over HTTP/1.1 or HTTP/2."""

import asyncio
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, TrailersReceived

from tests.envoy.gateway.servers import ThreadedServer

Fields = list[tuple[str, str]]


@dataclass
class Recorded:
    """A request as it arrived."""

    headers: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)


def converse() -> bytes:
    message = {"role": "assistant", "content": [{"text": "Hello!"}]}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
    return json.dumps(body).encode()


@dataclass
class SetResponse:
    """The response of the recording server."""

    status: int = 200
    headers: Fields = field(default_factory=list)
    body: bytes = field(default_factory=converse)
    trailers: Fields = field(default_factory=list)


class RecordingServer(ThreadedServer):
    """A server in a thread that records what arrives and sends the set response; HTTP/2 where TLS agrees on it."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.recorded: list[Recorded] = []
        self.response = SetResponse()
        super().__init__(self._serve, context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure = writer.get_extra_info("ssl_object")
        speak = self._http2 if secure and secure.selected_alpn_protocol() == "h2" else self._http1
        with suppress(OSError, asyncio.IncompleteReadError):
            await speak(reader, writer)
        writer.close()

    async def _http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            recorded = Recorded([(":path", first), *fields])
            pairs = {name.lower(): value for name, value in fields}
            if "content-length" in pairs:
                recorded.body = await reader.readexactly(int(pairs["content-length"]))
            self.recorded.append(recorded)
            response = self.response
            headers = [*response.headers, ("content-length", str(len(response.body)))]
            lines = [f"HTTP/1.1 {response.status} X", *(f"{name}: {value}" for name, value in headers), "", ""]
            writer.write("\r\n".join(lines).encode("latin-1") + response.body)
            await writer.drain()

    async def _http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        h2.initiate_connection()
        writer.write(h2.data_to_send())
        open_streams: dict[int, Recorded] = {}
        while data := await reader.read(65536):
            for event in h2.receive_data(data):
                match event:
                    case RequestReceived():
                        open_streams[event.stream_id] = Recorded(list(event.headers))
                    case DataReceived():
                        open_streams[event.stream_id].body += event.data
                        h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case TrailersReceived():
                        open_streams[event.stream_id].trailers = list(event.headers)
                    case StreamEnded():
                        self.recorded.append(open_streams.pop(event.stream_id))
                        self._respond(h2, event.stream_id)
            writer.write(h2.data_to_send())
            await writer.drain()

    def _respond(self, h2: H2Connection, stream: int) -> None:
        response = self.response
        h2.send_headers(stream, [(":status", str(response.status)), *response.headers])
        h2.send_data(stream, response.body, end_stream=not response.trailers)
        if response.trailers:
            h2.send_headers(stream, response.trailers, end_stream=True)

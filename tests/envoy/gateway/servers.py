"""Servers beside Bedrock or in its place."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress


class ThreadedServer:
    """A server of this machine, in a thread with an event loop of its own; with TLS, given a context.

    It is on a free port if none is named.
    """

    HOST = "127.0.0.1"

    def __init__(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        context: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        serving = asyncio.start_server(serve, self.HOST, port, ssl=context)
        self.port: int = self._loop.run_until_complete(serving).sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def close(self) -> None:
        """End its connections, and the thread."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _hang_up(self) -> None:
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


class Front(ThreadedServer):
    """TLS in front of a local Bedrock, in a thread."""

    def __init__(self, context: ssl.SSLContext, target: int, port: int = 0) -> None:
        self._target = target
        super().__init__(self._serve, context, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._carry(reader, inner_writer), self._carry(inner_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

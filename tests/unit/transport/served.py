"""A server of either transport, its scripted exchanges, and a channel of grpcio's client to it."""

import asyncio
from dataclasses import dataclass

import grpc
import grpc.aio

from extproc.exchange.directives import Continue, Forward, Reply
from extproc.exchange.events import RequestBody, RequestHeaders
from extproc.net import Address
from extproc.transport.service import ServerOptions
from extproc.transport.stream import Clock

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/grpc.health.v1.Health/Check"

FORWARD = Forward("/model/m/converse", "bedrock.local", (), b"{}")
REPLY = Reply(200, (), b"done", "x")
WAITING = {RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]]}


@dataclass(frozen=True)
class Job:
    name: str = "job"


class Jobs:
    """A job runner that finishes on command, and records each job's end."""

    def __init__(self):
        self.requested = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.result = asyncio.get_running_loop().create_future()

    async def __call__(self, job, seconds):
        self.requested.append((job, seconds))
        self.started.set()
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class ServedExchanges:
    """A server, the exchanges that it makes from one script, and a channel to it."""

    def __init__(self, driver, socket_path, scripted, script, timeout, steady, message_bytes):
        self.exchanges = []
        self.now = 0.0
        self.jobs = Jobs()
        self._make = lambda: scripted(script, timeout)
        clock = Clock(steady=lambda: self.now) if steady is None else Clock(steady=steady)
        self.server = driver(self._new_exchange, self.jobs, ServerOptions(message_bytes, longest_wait=100, clock=clock))
        self.address = Address(path=str(socket_path))

    def _new_exchange(self):
        self.exchanges.append(self._make())
        return self.exchanges[-1]

    @property
    def exchange(self):
        (exchange,) = self.exchanges
        return exchange

    async def __aenter__(self):
        await self.server.start(self.address)
        limits = [("grpc.max_receive_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(f"unix:{self.address.path}", options=limits)
        return self

    async def __aexit__(self, *_):
        await self.channel.close()
        await self.server.stop(0)

    def process(self):
        return self.channel.stream_stream(PROCESS)()

    async def check(self):
        return await self.channel.unary_unary(CHECK)(b"")

    async def gone(self):
        """Wait until no stream is open."""
        async with asyncio.timeout(30):
            while self.server.streams:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)


async def send_each(call, *messages):
    """Send messages one by one, each after the response to the last; return the responses."""
    responses = []
    for message in messages:
        await call.write(message)
        responses.append(await call.read())
    return responses

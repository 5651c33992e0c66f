"""The duties of grpcio's driver alone: its handler's tasks, and the one status that ends a call."""

import asyncio

from extproc.transport.grpcio import _Call
from extproc.transport.stream import Clock, ExtProcStream


class Context:
    """A call whose client sends a malformed message, and whose end takes a while."""

    def __init__(self) -> None:
        self.ending, self.may_end = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []

    async def read(self) -> bytes:
        return b"\xff"

    def done(self) -> bool:
        return False

    async def abort(self, _code: object, details: str) -> None:
        self.ending.set()
        await self.may_end.wait()
        self.ended.append(details)


async def test_a_second_error_does_not_keep_the_first_from_ending_the_call(scripted) -> None:
    """Without a status, Envoy would wait for one until its own timers end the call."""
    context, calls = Context(), list[_Call]()

    async def handle() -> None:
        calls.append(_Call(ExtProcStream(scripted({}, None), Clock(), 100), context, None))
        await calls[0].run()

    handler = asyncio.create_task(handle())
    await context.ending.wait()
    calls[0]._fail(RuntimeError("a tick failed, too"))
    context.may_end.set()
    await asyncio.wait([handler])
    assert context.ended == ["WireError"]

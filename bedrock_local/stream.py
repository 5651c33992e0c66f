"""Send the frames of a stream: at a pace, with the ordered faults, until the caller leaves."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from bedrock_local import eventstream, tokens
from bedrock_local.calls import Call
from bedrock_local.controls import Controls, Hold
from bedrock_local.frames import Encoder, Frame

#: A place among the frames at which the connection closes.
_CUT = Frame("cut", "", {})


def disturbed(frames: Iterable[Frame], controls: Controls) -> Iterator[Frame]:
    """Yield the frames with the faults that the controls order; nothing follows a fault."""
    for number, frame in enumerate(_altered(frames, controls)):
        if number >= controls.after and controls.end:
            return
        if number >= controls.after and (fault := _fault(controls)) is not None:
            yield fault
            return
        if controls.nometadata and frame.name == "metadata":
            return
        yield replace(frame, corrupt=controls.corrupt and number == controls.after)
    if (fault := _fault(controls)) is not None:
        yield fault


def _altered(frames: Iterable[Frame], controls: Controls) -> Iterator[Frame]:
    """Yield the frames, with one of an unknown type more, or without the usage, if the controls order that."""
    for frame in frames:
        if controls.nousage and frame.name == "metadata":
            frame.payload.pop("usage")
        yield frame
        if controls.unknown and frame.name == "messageStart":
            yield Frame("event", "eventOfTheFuture", {"contentBlockIndex": 0, "future": {"of": "events"}})


def _fault(controls: Controls) -> Frame | None:
    for kind, name in (("exception", controls.exception), ("error", controls.error)):
        if name is not None:
            return Frame(kind, name, {"message": controls.message_of(name)})
    return _CUT if controls.cut else None


@dataclass(frozen=True, slots=True)
class Pause:
    """The place at which a stream waits (see `controls`), and the event that it waits for."""

    place: Hold | None
    point: asyncio.Event | None
    frames: int = 0
    """Frames before the place `after`."""

    async def after_headers(self) -> None:
        """Wait if the place is before the first frame."""
        await self._wait(self.place == "headers")

    async def after(self, frame: Frame, number: int) -> None:
        """Wait if the place is after this frame, the first of which has the number 1."""
        opened = self.place == "start" and frame.name == "messageStart"
        counted = self.place == "after" and number >= self.frames
        await self._wait(opened or counted or (self.place == "here" and frame.name == "contentBlockDelta"))

    async def after_all(self) -> None:
        """Wait if the place is after the last frame."""
        await self._wait(self.place == "end")

    async def _wait(self, here: bool) -> None:
        if here and self.point is not None:
            await self.point.wait()


class Player:
    """A sender of frames over one prepared response; `usage` is that of the whole completion."""

    def __init__(
        self,
        response: web.StreamResponse,
        transport: asyncio.BaseTransport,
        call: Call,
        usage: dict[str, Any],
        pace: float,
    ) -> None:
        self._response = response
        self._transport = transport
        self._call = call
        self._usage = usage
        self._pace = pace

    async def play(self, frames: Iterable[Frame], encoder: Encoder, pause: Pause) -> None:
        """Send each frame by itself, at the pace; wait at the place of `pause`.

        Nothing else is awaited after the last frame: a caller that leaves after reading it has read everything.
        Raise ConnectionError or CancelledError if the caller leaves before.
        """
        await pause.after_headers()
        for number, frame in enumerate(frames):
            if number:
                await asyncio.sleep(self._pace)
            if frame is _CUT:
                self._transport.close()
                return
            await self._send(frame, encoder)
            await pause.after(frame, number + 1)
        await pause.after_all()

    async def _send(self, frame: Frame, encoder: Encoder) -> None:
        self._bill(frame)
        message = encoder.encode(frame)
        await self._response.write(eventstream.corrupted(message) if frame.corrupt else message)
        self._call.frames += 1

    def _bill(self, frame: Frame) -> None:
        """Bill the input once the message has begun, what is written of it with each delta, and all at its end."""
        if frame.name == "messageStart":
            self._call.billed = {**self._usage, "outputTokens": 0}
        elif frame.name == "contentBlockDelta":
            self._call.billed["outputTokens"] += tokens.written(frame.payload["delta"])
        elif frame.name == "messageStop":
            self._call.billed = self._usage

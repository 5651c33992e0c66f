"""One connection to a Redis, on which commands follow each other without waiting for replies.

Commands of one turn of the event loop are one write. A reply costs no task; its callback is called.

Invariant: `done` is called once for each command, with its reply, a `ReplyError` or a `RedisError`. A command with
seconds gets a `RedisTimeoutError` after them; its reply is then dropped, and it may have been carried out.

Decision: docs/decisions.md, D252.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from hiredis import HiredisError, Reader, ReplyError

log = logging.getLogger(__name__)

Done = Callable[[Any], None]

SECOND_LOOK: Final = 0.001
"""Seconds from the end of a command's time to its timeout: a busy event loop has to read first what has arrived."""

STALL_SECONDS: Final = 2.0
"""Seconds without a reply after which a connection is given up."""

MOST_UNWRITTEN: Final = 8 * 1024 * 1024
"""Bytes that the server may leave unread before the connection is given up."""

_REDIRECTIONS: Final = ("MOVED ", "READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ")
"""Beginnings of errors of a server that is not, or not yet, the one to ask."""


class RedisError(Exception):
    """The store does not work; the message has the reason."""


class RedisTimeoutError(RedisError):
    """A command had no reply in its time; it may still be carried out."""


class _Command:
    __slots__ = ("done", "due", "sent")

    def __init__(self, done: Done, sent: float, due: float) -> None:
        self.done: Done | None = done
        self.sent = sent
        self.due = due


class RedisConnection(asyncio.Protocol):
    """A connection; `lost` is called once, with the reason, when it has ended."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self.failures = 0
        """Commands in a row that had no reply in their time."""
        self._lost = lost
        self._reason = "the server closed the connection"
        self._reader = Reader(notEnoughData=_NOTHING)
        self._commands: deque[_Command] = deque()
        """Those without a reply, in the order in which they were sent."""
        self._timed: deque[_Command] = deque()
        """Those of them that have seconds; all have the same number."""
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Hand the replies to their commands."""
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                self._reply(reply)
        except HiredisError as error:
            self.abort(f"not a Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all commands."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()
        error = RedisError(str(exc) if exc else self._reason)
        commands, self._commands = self._commands, deque()
        self._timed.clear()
        for command in commands:
            _finish(command, error)
        self._lost(str(error))

    def send(self, command: bytes, done: Done, seconds: float = 0.0) -> None:
        """Send a command (`pack`). Without `seconds` it has as long as the connection works."""
        now = self._loop.time()
        pending = _Command(done, now, now + seconds)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)
        self._commands.append(pending)
        if seconds:
            self._timed.append(pending)
            if self._timer is None:
                self._timer = self._loop.call_later(seconds, self._look)

    def abort(self, reason: str) -> None:
        """Give the connection up."""
        self.open = False
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def check(self) -> None:
        """Give the connection up where the server has stopped; to be called now and then."""
        if self._commands and self._loop.time() - self._commands[0].sent > STALL_SECONDS:
            self.abort(f"no reply within {STALL_SECONDS:g} s")

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is None or not self.open:
            return
        self._transport.write(b"".join(out))
        if self._transport.get_write_buffer_size() > MOST_UNWRITTEN:
            self.abort("it does not read")

    def _reply(self, reply: Any) -> None:
        if not self._commands:
            self.abort("a reply to no command")
            return
        self.failures = 0
        if isinstance(reply, ReplyError) and str(reply).startswith(_REDIRECTIONS):
            self.abort(str(reply))
            reply = RedisError(str(reply))
        _finish(self._commands.popleft(), reply)

    def _look(self) -> None:
        self._timer = self._loop.call_later(SECOND_LOOK, self._expire)

    def _expire(self) -> None:
        """Fail the commands whose time is over."""
        self._timer = None
        now = self._loop.time()
        while self._timed:
            command = self._timed[0]
            if command.done is not None and command.due > now - SECOND_LOOK:
                self._timer = self._loop.call_later(max(command.due - now, 0.0), self._look)
                return
            self._timed.popleft()
            if command.done is not None:
                self.failures += 1
                _finish(command, RedisTimeoutError("no reply in time"))


_NOTHING: Final = object()


def _finish(command: _Command, reply: Any) -> None:
    """Hand a command its reply. A bug in what that leads to ends the connection of no other command."""
    done, command.done = command.done, None
    if done is not None:
        try:
            done(reply)
        except Exception:
            log.exception("a reply of the store met a bug")


def pack(*words: bytes) -> bytes:
    """Return a command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])

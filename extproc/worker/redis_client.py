"""A connection to a Redis that is kept: made again when it is lost, and left alone while it does not work.

A server that fails to reply in time several times in a row is asked no more until one reply comes; the one who sends
something once a second (`extproc.worker.redis_limits`) asks for it.

Invariant: `run` and `connect` end or go on whatever the server does, and nothing waits for them.

Decisions: docs/decisions.md, D252, D278.
"""

import asyncio
import hashlib
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from hiredis import ReplyError

from extproc.config.redis import RedisSettings
from extproc.config.sources import read_regular
from extproc.worker.redis_connection import Done, RedisConnection, RedisError, RedisTimeoutError, pack

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 2.0

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to connect; they double."""

MOST_FAILURES: Final = 3
"""Timeouts in a row after which the server is left alone."""

_SECRET_BYTES: Final = 4096

_PLACE: Final = " script: "
"""What stands in a script's error before its hash and line: the same trouble has another one in each script."""


class Script:
    """A program in Lua that the server runs as one step."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


class RedisClient:
    """The connection of one worker. `key` is what tells a cluster the server to ask."""

    def __init__(self, settings: RedisSettings, scripts: Sequence[Script], key: str) -> None:
        self._settings = settings
        self._scripts = scripts
        self._key = key.encode()
        self._connection: RedisConnection | None = None
        self._ended = asyncio.Event()
        self.attempted = asyncio.Event()
        """Whether it was tried to connect."""
        self._trouble = ""
        self._pause = FIRST_PAUSE
        self._moved: tuple[str, int] | None = None
        """Where a cluster keeps the keys, if it has said so."""

    @property
    def ready(self) -> bool:
        """Whether the server replies."""
        connection = self._connection
        return connection is not None and connection.open and connection.failures < MOST_FAILURES

    @property
    def connected(self) -> bool:
        """Whether there is a connection, whatever the server does."""
        return self._connection is not None and self._connection.open

    def run_script(self, script: Script, message: bytes, done: Done, seconds: float = 0.0) -> None:
        """Run a script with a message; `done` gets its reply or an error, as for `RedisConnection.send`."""
        connection = self._connection
        if connection is None or not connection.open:
            done(RedisError("there is no connection"))
            return

        began = time.monotonic()

        def checked(reply: Any) -> None:
            if isinstance(reply, ReplyError):
                self._failed(script, message, done, reply, seconds)
                return
            if not isinstance(reply, RedisError):
                self._works(time.monotonic() - began)
            elif isinstance(reply, RedisTimeoutError) and connection.failures >= MOST_FAILURES:
                self._tell(f"no reply within {seconds * 1000:g} ms, {MOST_FAILURES} times in a row")
            done(reply)

        connection.send(pack(b"EVALSHA", script.sha, b"1", self._key, message), checked, seconds)

    def send(self, done: Done, *words: bytes) -> None:
        """Send another command."""
        connection = self._connection
        if connection is None or not connection.open:
            done(RedisError("there is no connection"))
        else:
            connection.send(pack(*words), done)

    def check(self) -> None:
        """Give up a connection whose server has stopped; to be called once a second."""
        if self._connection is not None:
            self._connection.check()

    async def run(self, connected: Callable[[], None]) -> None:
        """Keep a connection until cancelled; `connected` is called for each new one."""
        self._pause = FIRST_PAUSE
        while True:
            try:
                await self._connect()
                connected()
                self.attempted.set()
                await self._ended.wait()
            except (OSError, ValueError, RedisError, ReplyError) as error:
                self._tell(str(error) or "it cannot be reached in time")
            except Exception:  # a bug, too, is no reason to stop for good
                log.exception("the store %s cannot be used", self._settings.url)
            self.attempted.set()
            await asyncio.sleep(self._pause * random.uniform(0.5, 1))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def probe(self, script: Script, message: bytes) -> None:
        """Connect, run a script and write a key for a second, once; to the place of the keys where a cluster names it.

        Raises `OSError`, `ValueError`, `RedisError` or `ReplyError`.
        """
        commands = (
            pack(b"EVALSHA", script.sha, b"1", self._key, message),
            pack(b"SET", self._key + b"told:check", b"1", b"EX", b"1"),
        )
        for again in (True, False):
            await self._connect()
            try:
                await self._ask(commands)
                return
            except RedisError:
                if not again or self._moved is None:
                    raise
            finally:
                self.close()

    async def _ask(self, commands: Sequence[bytes]) -> None:
        assert self._connection is not None
        async with asyncio.timeout(CONNECT_SECONDS):
            for each in commands:
                await _reply(self._connection, each)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort("closed")

    def _failed(self, script: Script, message: bytes, done: Done, error: ReplyError, seconds: float) -> None:
        """Run a script that the server has forgotten by its text, which it then keeps; pass on other errors."""
        connection = self._connection
        if str(error).startswith("NOSCRIPT") and connection is not None:
            connection.send(
                pack(b"EVAL", script.text, b"1", self._key, message),
                lambda reply: done(RedisError(str(reply)) if isinstance(reply, ReplyError) else reply),
                seconds,
            )
            return
        reason = str(error).partition(_PLACE)[0]
        self._tell(reason)
        done(RedisError(reason))

    async def _connect(self) -> None:
        """Connect, log in, and load the scripts. Raises `OSError`, `ValueError`, `RedisError` or `ReplyError`."""
        settings, loop = self._settings, asyncio.get_running_loop()
        self._ended = ended = asyncio.Event()
        host, port = self._moved or settings.address
        self._moved = None
        context, words = await asyncio.to_thread(self._prepared)

        def lost(reason: str) -> None:
            if self._connection is not None:  # else `run` has the reason
                self._redirect(reason)
                self._tell(reason)
            self._connection = None
            ended.set()

        self._connection = None
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(
                lambda: RedisConnection(lost), host, port, ssl=context, server_hostname=host if context else None
            )
            try:
                for each in words:
                    await _reply(connection, each)
            except BaseException:
                connection.abort("no greeting")
                raise
        self._connection = connection

    def _prepared(self) -> tuple[ssl.SSLContext | None, list[bytes]]:
        """Return the context of TLS and the first commands; files are read in a thread."""
        settings, words = self._settings, list[bytes]()
        if settings.password_file is not None:
            password = read_regular(Path(settings.password_file), _SECRET_BYTES).strip()
            user = [settings.username.encode()] if settings.username is not None else []
            words.append(pack(b"AUTH", *user, password))
        if settings.database:
            words.append(pack(b"SELECT", str(settings.database).encode()))
        words += [pack(b"SCRIPT", b"LOAD", script.text) for script in self._scripts]
        return (ssl.create_default_context(cafile=settings.ca_file) if settings.tls else None), words

    def _redirect(self, reason: str) -> None:
        """Note where a cluster has the keys: `MOVED 866 10.0.0.3:6379`."""
        if reason.startswith("MOVED "):
            host, _, port = reason.rpartition(" ")[2].rpartition(":")
            if port.isdecimal():
                self._moved = (host or self._settings.address[0], int(port))

    def _works(self, seconds: float) -> None:
        """Note that a script has been run: a server may take connections, and run none.

        One that takes longer for it than requests wait is not working again: it would be in the log twice a second.
        """
        self._pause = FIRST_PAUSE
        if self._trouble and seconds * 1000 <= self._settings.timeout_ms:
            log.info("the store %s works again", self._settings.url)
            self._trouble = ""

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it is the same."""
        if trouble != self._trouble and not trouble.startswith("MOVED "):
            log.warning("the store %s does not work: %s", self._settings.url, trouble)
        self._trouble = trouble


async def _reply(connection: RedisConnection, command: bytes) -> None:
    """Send a command and wait for its reply. Raises `RedisError` or `ReplyError`."""
    future = asyncio.get_running_loop().create_future()

    def done(reply: Any) -> None:
        if not future.done():
            future.set_result(reply)

    connection.send(command, done)
    reply = await future
    if isinstance(reply, Exception):
        raise reply

"""Looks up the hosts of images, without holding up anything else."""

import asyncio
import errno
import functools
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult

from extproc.worker.fair_slots import FairSlots

LOOKUPS = 32
"""Lookups at once, fairly by organisation. They have threads of their own: names whose servers never respond hold up
images of the organisation that named them, and nothing else."""


class ImageResolver(AbstractResolver):
    """The system's resolver, in threads of its own, and without the system's search domains."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, "image-lookup")
        self._slots = FairSlots(LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return all addresses of `host`. Raises `OSError`.

        A thread cannot be cancelled: its slot stays taken until the lookup ends, although nothing may wait for it.
        """
        absolute = host.removesuffix(".") + "."
        ask = functools.partial(
            socket.getaddrinfo, absolute, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        loop, organisation = asyncio.get_running_loop(), await self._slots.take()
        try:
            looking = self._threads.submit(ask)
        except RuntimeError as error:  # the system starts no more threads, or this is closed
            self._slots.give_back(organisation)
            raise OSError(errno.EAGAIN, f"no thread for the look-up: {error}") from error

        def ended(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(self._slots.give_back, organisation)

        looking.add_done_callback(ended)
        addresses = await asyncio.wrap_future(looking)
        return [
            ResolveResult(hostname=host, host=str(there[0]), port=port, family=family, proto=proto, flags=0)
            for family, _, proto, _, there in addresses
        ]

    async def close(self) -> None:
        """Drop what waits for a thread; a lookup under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

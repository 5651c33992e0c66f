"""Coroutines and threads beside each other."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack


def run_beside(cleanup: AsyncExitStack, work: Coroutine[object, object, object]) -> None:
    """Run `work` in a task, until `cleanup` is left."""
    cleanup.callback(asyncio.create_task(work).cancel)


async def first(*works: Awaitable[object]) -> None:
    """Wait until one of these is done, and cancel the others; raises what the one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


async def in_thread(work: Callable[[], object], done: asyncio.Event | None = None) -> None:
    """Run `work` in a thread that holds up neither the loop nor, unlike a pool's, the end of the process.

    `done` is set when it has ended, also where nothing waits for it any more.
    """
    loop, done = asyncio.get_running_loop(), done or asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()

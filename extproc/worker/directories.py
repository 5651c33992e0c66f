"""The directory of the settings in force: the file's tokens and organisations, or a table and its lookups.

A table is opened before settings that name it come into force: importing aiohttp and finding DynamoDB's endpoint take
a second, for which callers would wait. The one before is closed when the last lookup in it has ended.

The times at which tokens are used are written beside it, if the settings ask for that: to the table, or to a file.

Decisions: docs/decisions.md, D196, D205.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.endpoints import Endpoint
from extproc.config import LOOKUP_SECONDS, DynamoDbSettings, Settings
from extproc.tenancy.directory import Directory
from extproc.tenancy.store import Lookup, LookupResult, Unavailable
from extproc.worker.last_used import LastUsed, TableWriter
from extproc.worker.last_used_file import FileWriter
from extproc.worker.table_lookups import TableLookups

if TYPE_CHECKING:
    from extproc.worker.dynamodb import DynamoDb

Identity = Callable[[], Credentials | BearerToken | None]
"""Returns AWS credentials that are valid now, or None."""


@dataclass(frozen=True, slots=True)
class _OpenTable:
    """The lookups of a table, and what ends with them."""

    lookups: TableLookups
    last_used: LastUsed | None = None
    cleanup: AsyncExitStack = field(default_factory=AsyncExitStack)


class Directories:
    """The directories of one worker; `find` returns DynamoDB's endpoint in a region, and may block."""

    def __init__(
        self, region: str, find: Callable[[str], Endpoint], identity: Identity, elsewhere: Collection[str] = ()
    ) -> None:
        """`region` is that of tables whose settings name none; organisations may name it, or one of `elsewhere`."""
        self._known = frozenset({region, *elsewhere})
        self._region = region
        self._find = find
        self._identity = identity
        self._tables: dict[DynamoDbSettings, _OpenTable] = {}
        self._current: _OpenTable | None = None
        self._closing: dict[asyncio.Task[None], _OpenTable] = {}
        self._files: dict[str, LastUsed] = {}
        """The file of last uses in force, by its path."""
        self._closing_files: set[asyncio.Task[None]] = set()

    async def prepare(self, settings: Settings) -> None:
        """Open the table that the settings name. Raises `EndpointError`, `ProxyError` or `TrustError`."""
        wanted = settings.directory.dynamodb if settings.directory else None
        if wanted is None or wanted in self._tables:
            return
        region = wanted.region or self._region
        endpoint = await asyncio.to_thread(self._find, region)
        table = await asyncio.to_thread(_open, wanted, region, endpoint, self._identity)
        last_used = LastUsed(TableWriter(table.put), f"the table {wanted.table}") if wanted.last_used else None
        opened = _OpenTable(TableLookups(table.get, name=wanted.table, regions=self._known), last_used)
        await opened.cleanup.enter_async_context(table)
        opened.cleanup.push_async_callback(opened.lookups.close)
        if last_used is not None:
            opened.cleanup.push_async_callback(last_used.close)
            last_used.start()
        self._tables[wanted] = opened

    def switch(self, settings: Settings) -> Directory:
        """Return the directory of settings that were prepared; lookups are made in its table from now on."""
        wanted = settings.directory.dynamodb if settings.directory else None
        for name in [name for name in self._tables if name != wanted]:
            table = self._tables.pop(name)
            task = asyncio.get_running_loop().create_task(self._close_later(table))
            self._closing[task] = table
            task.add_done_callback(self._closing.pop)
        last_used = self._switch_file(settings.last_used_in)
        if wanted is None:
            return Directory(settings, used=last_used.seen if last_used else None)
        self._current = self._tables[wanted]
        last_used = self._current.last_used
        return Directory(settings, self._current.lookups.store, last_used.seen if last_used else None)

    def _switch_file(self, path: str | None) -> LastUsed | None:
        """Return the last uses that are written to the file at `path`, and end those of another file."""
        for name in [name for name in self._files if name != path]:
            task = asyncio.get_running_loop().create_task(self._files.pop(name).close())
            self._closing_files.add(task)
            task.add_done_callback(self._closing_files.discard)
        if path is None:
            return None
        if path not in self._files:
            self._files[path] = LastUsed(FileWriter(Path(path)), path)
            self._files[path].start()
        return self._files[path]

    async def look_up(self, job: Lookup, seconds: float) -> LookupResult:
        """Look up a caller in the current table, or in the last one, for requests that came before a switch."""
        if self._current is None:
            return Unavailable()
        return await self._current.lookups(job, seconds)

    async def _close_later(self, table: _OpenTable) -> None:
        """Close a table once no lookup can run in it any more."""
        try:
            await asyncio.sleep(2 * LOOKUP_SECONDS)
        finally:
            if self._current is table:
                self._current = None
            await table.cleanup.aclose()

    async def close(self) -> None:
        """Close everything."""
        await asyncio.gather(*self._closing_files, *(each.close() for each in self._files.values()))
        for task in self._closing:
            task.cancel()
        for table in (*self._tables.values(), *self._closing.values()):
            await table.cleanup.aclose()


def _open(settings: DynamoDbSettings, region: str, endpoint: Endpoint, identity: Identity) -> "DynamoDb":
    """Return the client of a table. It imports aiohttp, which most workers never need. Raises `ProxyError`."""
    from extproc.worker.dynamodb import DynamoDb

    return DynamoDb(settings.table, region, endpoint, identity)

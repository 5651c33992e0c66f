"""The outcomes of the scenarios, for docs/reliability.md."""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """A scenario on one gateway."""

    section: str
    fault: str
    phase: str
    call: str
    transport: str
    workers: int
    sees: str
    """A member of `callers.KINDS`."""
    status: int | None
    code: str | None
    seconds: float
    neighbours: int
    """Calls that ran beside it…"""
    neighbours_lost: int
    """… and those of them that were not served whole."""
    note: str = ""


@dataclass
class Record:
    """The rows of a run."""

    rows: list[Row] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, row: Row) -> None:
        """Take a row, once its scenario has held."""
        with self._lock:
            self.rows.append(row)

    def write(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the rows in an order that does not depend on the run."""
        rows = sorted((asdict(row) for row in self.rows), key=lambda row: [str(value) for value in row.values()])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")

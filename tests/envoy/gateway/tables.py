"""Gateways with a table of tokens and organisations, and our own commands for it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.dynamodb import server
from tests.dynamodb.server import Faulty

TABLE = "tenants"
IN_TABLE = {"organisations": {}, "tokens": [], "directory": {"dynamodb": {"table": TABLE}}}


PATIENT = """
import extproc.worker.table_lookups

extproc.worker.table_lookups.ANSWER_SECONDS = 1.2
"""
"""A longer time for DynamoDB's answers, since a busy machine is no fault; two tries are still within three seconds."""


def environment(table: Faulty, folder: Path, program: str) -> dict[str, str]:
    """Lead a gateway to the table, and run a program in each of its programs before these start."""
    (folder / "sitecustomize.py").write_text(program)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {"AWS_ENDPOINT_URL_DYNAMODB": table.url, "PYTHONPATH": path}


def command(*arguments: str, url: str, folder: Path) -> str:
    """Run `oai-extproc` against the table; return what it prints."""
    variables = {**os.environ, **server.environment(url)}
    done = subprocess.run(
        [sys.executable, "-m", "extproc", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""Gateways with a table of tokens and organisations, and our own commands for it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.config import Token
from extproc.config.items import token_item
from extproc.tenancy import api_keys
from extproc.tenancy.api_keys import digest
from tests.conftest import CONFIG
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


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[int]:
    with server.dynalite() as port:
        yield port


@pytest.fixture(scope="module")
def table(dynamodb: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """The table with the tokens and organisations of CONFIG, written by our own commands, behind the proxy."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "file.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "table.yaml").write_text(yaml.safe_dump({**CONFIG, **IN_TABLE}))
    with server.faulty(dynamodb) as proxy:
        made = command("directory", "init", "--config", "table.yaml", url=proxy.url, folder=folder)
        assert made == "Made the table tenants in us-east-1, which is billed by request.\n"
        again = command("directory", "init", "--config", "table.yaml", url=proxy.url, folder=folder)
        assert again == "There is the table tenants in us-east-1 already: nothing to do.\n"
        arguments = ("directory", "import", "--config", "table.yaml", "--from", "file.yaml")
        written = command(*arguments, url=proxy.url, folder=folder)
        assert written == "Wrote 4 organisations and 6 tokens to the table tenants in us-east-1.\n"
        yield proxy


@pytest.fixture
def new_token(dynamodb: int) -> Callable[..., str]:
    """Writes a token that no worker has met into the table; returns it."""
    boto3 = server.client(dynamodb)

    def write(*organisations: str) -> str:
        secret = api_keys.new_token()
        token = Token(name="new", sha256=digest(secret), organisations=organisations or ("acme",))
        boto3.put_item(TableName=TABLE, Item={name: {"S": text} for name, text in token_item(token).items()})
        return secret

    return write


def key_of(secret: str) -> str:
    return f"token#{digest(secret)}"


def models(client: Any, secret: str) -> Any:
    """Ask for the list of models with a token."""
    return client.exchange("GET", "/oai/v1/models", token=None, headers=[("authorization", f"Bearer {secret}")])


def chat(client: Any, secret: str, model: str) -> Any:
    """Send a prompt with a token."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return client.post("chat/completions", body, token=None, headers=[("authorization", f"Bearer {secret}")])

"""docs/operations.md: its commands are run one after the other, and its tables are compared with what there is."""

import ast
import contextlib
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIStatusError, OpenAI

from tests.envoy.conftest import Site

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 60.0


def block(beginning: str) -> str:
    """The one block of the document that begins so."""
    [code] = [code for code in BLOCKS if code.startswith(beginning)]
    return str(code)


class Operator:
    """An operator who runs the document's commands in a folder, and the gateway that the first three start."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.listen, self.health = site.port(), site.port()
        self.do(block("oai-extproc envoy-config"))
        self.worker = self.start("worker", block("oai-extproc serve"))
        self.worker.wait_for("serving on")
        self.envoy = self.start("envoy", block("envoy -c").rstrip() + " --disable-hot-restart --concurrency 1")
        self.envoy.wait_for("starting workers")

    def mine(self, code: str) -> str:
        """The document's code with this operator's folder and ports."""
        for theirs, mine in {
            "/run/oai": str(self.site.folder),
            "0.0.0.0:": "127.0.0.1:",
            ":8080": f":{self.listen}",
            ":8081": f":{self.health}",
            "oai-extproc ": f"{sys.executable} -m extproc ",
            "envoy -c": f"{self.site.envoy_binary} -c",
        }.items():
            code = code.replace(theirs, mine)
        return code

    def do(self, code: str) -> str:
        """Return what a shell prints for this code; it must not fail."""
        command = ("sh", "-eu", "-c", self.mine(code))
        done = subprocess.run(
            command, cwd=self.site.folder, env=self.site.environment, capture_output=True, text=True, timeout=DEADLINE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, code: str) -> Any:
        return self.site.start(name, "sh", "-c", f"exec {self.mine(code)}")

    @property
    def client(self) -> OpenAI:
        url, key = f"http://127.0.0.1:{self.listen}/oai/v1", self.site.tokens["ci"]
        return OpenAI(base_url=url, api_key=key, max_retries=0, timeout=DEADLINE)

    def status(self, port: int, path: str) -> int:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE, trust_env=False).status_code


@pytest.fixture
def operator(site: Site) -> Operator:
    return Operator(site)


def test_the_document(operator: Operator) -> None:
    """From the start to the end of a gateway, in the document's order."""
    response = operator.client.chat.completions.create(model=NOVA, messages=[{"role": "user", "content": "Hello!"}])
    assert response.usage is not None
    assert operator.do(block("curl -s -o")) == "200\n"
    assert "serving" in operator.do(block("oai-extproc health"))
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="processor"} 1\n' in operator.do(block("curl -s http:"))
    assert operator.do(block("curl -s --unix-socket")) == "http.oai.downstream_rq_active: 0\n"
    metrics(operator)
    assert "gateway.yaml is fine" in operator.do(block("oai-extproc check"))
    operator.do(block("oai-extproc drain").replace("--notice 10", "--notice 0"))
    assert operator.status(operator.health, "/healthz") == 503
    assert operator.status(operator.listen, "/healthz") == 503
    operator.envoy.stop()
    assert operator.worker.stop() == 0
    access_log(operator, response.usage.total_tokens)


def metrics(operator: Operator) -> None:
    """Every metric of the document's table is there, after a call."""
    scraped = httpx.get(f"http://127.0.0.1:{operator.health}/metrics", timeout=DEADLINE, trust_env=False).text
    named = re.findall(r"^\| `(envoy_\w+)\{(\w+)=\"(\w+)\"\}`", DOC, re.MULTILINE)
    assert len(named) > 5
    for name, label, value in named:
        assert re.search(rf'^{name}{{[^}}]*{label}="{value}"', scraped, re.MULTILINE), name


def access_log(operator: Operator, tokens: int) -> None:
    """The line has the fields of the document's table and no others."""
    [line] = [json.loads(line) for line in operator.envoy.output().splitlines() if line.startswith("{")]
    assert line["oai"]["input_tokens"] + line["oai"]["output_tokens"] == tokens
    table = DOC.partition("\n| field |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([\w.]+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:])))
    assert named == {name for name in line if name != "oai"} | {f"oai.{name}" for name in line["oai"]}


def test_the_recipes(operator: Operator) -> None:
    """The commands for jq, on the access log of a few calls."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    question: Any = [{"role": "user", "content": "Hello!"}]
    with contextlib.suppress(APIStatusError):
        operator.client.with_options(api_key=operator.site.tokens["expired"]).models.list()
    with contextlib.suppress(APIStatusError):
        operator.client.chat.completions.create(model=NOVA, messages=question, n=2)
    response = operator.client.chat.completions.create(
        model=NOVA, messages=question, extra_headers={"user-agent": "a program"}
    )
    assert response.usage is not None
    operator.envoy.stop()
    lines = [line for line in operator.envoy.output().splitlines() if line.startswith("{")]
    (operator.site.folder / "access.log").write_text("\n".join(lines) + "\n")
    usage = f"acme\t{NOVA}\t1\t{response.usage.prompt_tokens}\t{response.usage.completion_tokens}\n"
    assert operator.do(block("jq -rs ")) == usage
    micro_usd = math.ceil(0.035 * response.usage.prompt_tokens + 0.14 * response.usage.completion_tokens)
    spent, estimates = operator.do(block("jq -r --slurp")).split("\t")[2:]
    assert (float(spent), estimates) == (pytest.approx(micro_usd / 1e6), "0\n")
    assert operator.do(block("jq -r '.oai | select")) == ""
    who = operator.do(block("jq -r 'select(.oai.token ==")).splitlines()
    assert any(line.endswith("127.0.0.1\ta program") for line in who)
    assert "expired\tinvalid_api_key\t127.0.0.1" in operator.do(block("jq -r 'select(.oai.token !="))
    causes = operator.do(block("jq -r 'select(.oai.finish"))
    assert "400\tunsupported_value" in causes
    assert "401\tinvalid_api_key" in causes
    assert "200" not in causes


def test_every_block_is_run_above() -> None:
    run = re.findall(r'block\("(.*?)"\)', Path(__file__).read_text())
    assert [code for code in BLOCKS if not any(code.startswith(beginning) for beginning in run)] == []


def test_the_page_of_the_folder_envoy(operator: Operator) -> None:
    """The page's commands render a bootstrap that Envoy takes, and start what this document starts."""
    page = (ROOT / "envoy" / "README.md").read_text()
    [code] = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    render, validate, serve, envoy = code.replace("\\\n", "").splitlines()
    operator.do(f"{render}\n{validate.replace('envoy --mode', f'{operator.site.envoy_binary} --mode')}")
    assert block("oai-extproc serve").startswith(serve.partition(" &")[0])
    assert block("envoy -c") == f"{envoy}\n"


def test_a_worker_that_is_interrupted_twice_ends_at_once(operator: Operator) -> None:
    question: Any = [{"role": "user", "content": "Count to 5. [[local: hold]]"}]
    stream = operator.client.chat.completions.create(model=NOVA, messages=question, stream=True)
    next(iter(stream))
    operator.worker.process.send_signal(signal.SIGTERM)
    operator.worker.wait_for("stopping, with 1 streams open")
    operator.worker.process.send_signal(signal.SIGTERM)
    assert operator.worker.process.wait(DEADLINE) == 0


def test_the_table_of_errors_has_every_code() -> None:
    table = DOC.partition("## What each 5xx means")[2]
    named = re.findall(r"^\| 5[\d, ]+ \| `(\w+)` \|", table, re.MULTILINE)
    assert set(named) == set(codes())


def codes() -> Iterator[str]:
    """The codes of all server errors that the source constructs."""
    for path in (ROOT / "extproc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("ApiError", "_Rule", "_Reply"):
                constants = {
                    each.arg: each.value.value for each in node.keywords if isinstance(each.value, ast.Constant)
                }
                status = getattr(node.args[0], "value", 0) if node.args else 0
                is_error = status >= 500 if isinstance(status, int) else "code == 5" in str(status)
                is_ours = is_error or constants.get("type") == "server_error"
                if is_ours and constants.get("code"):
                    yield str(constants["code"])

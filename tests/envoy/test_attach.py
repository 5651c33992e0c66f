"""docs/attach.md, as its reader follows it: into bootstraps that this project did not write, command by command."""

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openai import APIStatusError, OpenAI

from tests.envoy.attached_envoy import BLOCK, BLOCKS, DEADLINE, DOC, FILES, ROOT, OperatorWithEnvoy, block

THEIRS = {path.stem: path.read_text() for path in sorted((ROOT / "tests" / "data" / "attach").glob("*.yaml"))}
NOVA = "amazon.nova-micro-v1:0"


@pytest.fixture(scope="module")
def shop() -> Iterator[int]:
    """The port of what the Envoy served before."""

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"shop")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def on_a_socket(reader: OperatorWithEnvoy, *forgotten: str) -> None:
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor unix:"))
    reader.paste(*forgotten)
    assert "OK" in reader.do(block("sh", "envoy --mode validate"))
    reader.start("worker", block("sh", "oai-extproc serve --config gateway.yaml --listen unix:")).wait_for("serving on")
    reader.start_envoy()


def over_tcp(reader: OperatorWithEnvoy) -> None:
    certify(reader)
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor unix:"))
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor worker.internal"))
    reader.paste()
    assert "OK" in reader.do(block("sh", "envoy --mode validate"))
    serve_over_tcp(reader)
    reader.start_envoy()


def test_the_document_leads_to_an_envoy_that_follows_its_certificates(reader_of: Any) -> None:
    """The tests of test_certificates.py try the rotation itself."""
    reader = reader_of("shop")
    certify(reader)
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor unix:"))
    reader.do(block("sh", "files="))
    reader.paste()
    serve_over_tcp(reader)
    reader.start_envoy(block("sh", "envoy --service-node"))
    assert 'You said: \\"Hello!\\"' in reader.do(block("sh", "curl -s"))


def certify(reader: OperatorWithEnvoy) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the certificates")
    reader.do(block("sh", "new="))


def serve_over_tcp(reader: OperatorWithEnvoy) -> None:
    code = block("sh", "oai-extproc serve --config gateway.yaml --listen 0.0.0.0")
    reader.start("worker", code).wait_for("serving on")


@pytest.fixture
def reader_of(site: Any, shop: int) -> Callable[[str], OperatorWithEnvoy]:
    return lambda theirs: OperatorWithEnvoy(site, THEIRS[theirs], shop)


@pytest.mark.parametrize("way", [on_a_socket, over_tcp])
@pytest.mark.parametrize("theirs", THEIRS)
def test_the_document_leads_to_a_working_call(
    reader_of: Any, theirs: str, way: Callable[[OperatorWithEnvoy], None]
) -> None:
    reader = reader_of(theirs)
    way(reader)
    assert 'You said: \\"Hello!\\"' in reader.do(block("sh", "curl -s"))
    assert reader.python(block("python", "from openai")) == "1 2 3 4 5\n"
    every_kind_of_call(reader.client)
    error_responses(reader)
    large_bodies(reader)
    assert reader.get("/anything").text == "shop"
    assert reader.get("/version").text in ("shop 4.2\n", "edge 1.0\n")
    usage_is_counted(reader)


def every_kind_of_call(client: OpenAI) -> None:
    response = client.chat.completions.create(model=NOVA, messages=[{"role": "user", "content": "Hello!"}])
    assert "Hello!" in (response.choices[0].message.content or "")
    for texts in ("one", ["one", "two"]):
        vectors = client.embeddings.create(model="amazon.titan-embed-text-v2:0", input=texts)
        assert len(vectors.data) == (1 if texts == "one" else 2)
    assert NOVA in {model.id for model in client.models.list()}


def usage_is_counted(reader: OperatorWithEnvoy) -> None:
    """For the calls of the API alone."""
    tokens = f'envoy_oai_tokens_total{{organisation="acme",model="{NOVA}",kind="input"}}'
    assert any(line.startswith(f"{tokens} ") for line in metrics(reader))
    before = calls(reader)
    assert {"stop", "model_not_found", "invalid_api_key"} < {finish for finish, _ in before}
    assert reader.get("/anything").text == "shop"
    assert calls(reader) == before


def calls(reader: OperatorWithEnvoy) -> list[tuple[str, str]]:
    """Return how calls finished, and how many."""
    return re.findall(r'^envoy_oai_calls_total\{.*finish="(\w*)".*\} (\d+)$', "\n".join(metrics(reader)), re.MULTILINE)


def metrics(reader: OperatorWithEnvoy) -> list[str]:
    [admin] = re.findall(r"admin address: (\S+)", (reader.folder / "envoy.log").read_text())
    text = httpx.get(f"http://{admin}/stats/prometheus", timeout=DEADLINE, trust_env=False).text
    return text.splitlines()


def error_responses(reader: OperatorWithEnvoy) -> None:
    """Errors of the worker's, of Bedrock's, and none that the Envoy's own error pages have got at."""
    with pytest.raises(APIStatusError) as rejected:
        reader.client.models.retrieve("no.such-model")
    assert (rejected.value.status_code, rejected.value.code) == (404, "model_not_found")
    with pytest.raises(APIStatusError) as rejected:
        reader.client.with_options(api_key="sk-wrong").models.list()
    assert (rejected.value.status_code, rejected.value.code) == (401, "invalid_api_key")
    before = len(reader.calls())
    with pytest.raises(APIStatusError) as rejected:
        send(reader, "[[local: status=500]] x", {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "9"})
    assert rejected.value.status_code == 500
    assert len(reader.calls()) == before + 1, "it is billed once"
    assert {name for name in reader.calls()[-1]["headers"] if name.startswith("x-envoy")} == set()


def large_bodies(reader: OperatorWithEnvoy) -> None:
    """Larger than the listener's limit, up to the gateway's."""
    with pytest.raises(APIStatusError) as rejected:
        send(reader, "x" * 3_000_000)
    assert rejected.value.status_code == 400, "the model refuses it, not Envoy"


def send(reader: OperatorWithEnvoy, text: str, headers: dict[str, str] | None = None) -> Any:
    question: Any = [{"role": "user", "content": text}]
    return reader.client.chat.completions.create(model=NOVA, messages=question, extra_headers=headers)


def test_a_stream_outlasts_what_the_envoy_allows_others(reader_of: Any) -> None:
    """The edge proxy has an idle timeout of 1 s and lets no stream last longer than 2 s."""
    reader = reader_of("edge")
    on_a_socket(reader)
    question: Any = [{"role": "user", "content": "Count to 5. [[local: hold]]"}]
    stream = reader.client.chat.completions.create(model=NOVA, messages=question, stream=True)
    pieces = (chunk.choices[0].delta.content or "" for chunk in stream)
    text = next(piece for piece in pieces if piece)
    time.sleep(2.5)  # the time itself is what is tried here
    reader.release()
    assert text + "".join(pieces) == "1 2 3 4 5"


def test_callers_whom_the_envoy_trusts_are_billed_once_too(reader_of: Any) -> None:
    """As in a mesh: every caller is internal, and Envoy obeys its retry headers."""
    reader = reader_of("shop")
    reader.bootstrap = reader.bootstrap.replace(
        "stat_prefix:",
        "use_remote_address: true\n"
        "          internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}\n"
        "          stat_prefix:",
    )
    on_a_socket(reader)
    error_responses(reader)


def test_without_a_worker_it_is_a_503_in_openais_shape(reader_of: Any) -> None:
    reader = reader_of("edge")
    on_a_socket(reader)
    (reader.folder / "w0.sock").unlink()
    processor_unavailable(reader)
    assert reader.get("/anything").text == "shop"


@pytest.mark.parametrize("theirs", THEIRS)
def test_without_the_filter_nothing_leaves(reader_of: Any, theirs: str) -> None:
    reader = reader_of(theirs)
    on_a_socket(reader, "filter")
    processor_unavailable(reader)
    assert reader.get("/model/x/converse").text == "shop"


def test_a_virtual_host_with_a_name_of_its_own_is_matched_again(reader_of: Any) -> None:
    """Envoy looks for the route of a signed request by the host that the caller sent."""
    reader = reader_of("shop")
    assert 'domains: ["*"]' in reader.bootstrap
    reader.bootstrap = reader.bootstrap.replace('domains: ["*"]', f'domains: ["127.0.0.1:{reader.port}"]')
    on_a_socket(reader)
    every_kind_of_call(reader.client)
    large_bodies(reader)


def processor_unavailable(reader: OperatorWithEnvoy) -> None:
    with pytest.raises(APIStatusError) as rejected:
        send(reader, "Hello!")
    assert (rejected.value.status_code, rejected.value.code) == (503, "processor_unavailable")
    assert rejected.value.response.headers["retry-after"] == "1"
    assert reader.calls() == []


def a_strangers_certificate(cluster: str, reader: OperatorWithEnvoy) -> str:
    """Envoy shows a certificate of an authority that the worker does not trust."""
    elsewhere = reader.folder / "elsewhere"
    elsewhere.mkdir()
    reader.do(f"cd {elsewhere}\n" + block("sh", "new="))
    return cluster.replace(f"{reader.folder}/envoy", f"{elsewhere}/envoy")


def no_certificate(cluster: str, reader: OperatorWithEnvoy) -> str:
    changed, times = re.subn(r" +tls_certificates:\n(?: +- certificate_chain:\n.*\n.*\n.*\n)", "", cluster)
    assert times == 1, cluster
    return changed


def another_authority(cluster: str, reader: OperatorWithEnvoy) -> str:
    """The worker shows a certificate of an authority that Envoy does not trust."""
    a_strangers_certificate("", reader)
    return cluster.replace(f"{reader.folder}/ca.pem", f"{reader.folder}/elsewhere/ca.pem")


def another_name(cluster: str, reader: OperatorWithEnvoy) -> str:
    """The worker's certificate is valid, but for another name."""
    return cluster.replace("exact: localhost", "exact: other.test")


@pytest.mark.parametrize("spoil", [a_strangers_certificate, no_certificate, another_authority, another_name])
def test_a_peer_with_a_wrong_certificate_gets_nothing(
    reader_of: Any, spoil: Callable[[str, OperatorWithEnvoy], str]
) -> None:
    reader = reader_of("shop")
    certify(reader)
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor unix:"))
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor worker.internal"))
    cluster = reader.folder / "cluster.yaml"
    good = cluster.read_text()
    cluster.write_text(spoil(good, reader))
    assert cluster.read_text() != good
    reader.paste()
    serve_over_tcp(reader)
    reader.start_envoy()
    processor_unavailable(reader)


# The document

CHECK = "oai-extproc check --config gateway.yaml --envoy envoy.yaml"

IN_SENTENCES = {
    CHECK: ("tests/envoy/test_attach.py", 'reader.do(f"{CHECK}'),
    "oai-extproc token create": ("tests/unit/cli/test_token.py", 'cli("token", "create"'),
    "oai-extproc drain": ("tests/envoy/test_drain.py", '"extproc", "drain"'),
}
"""Commands outside of the blocks, and where a test runs each."""


def test_the_check_finds_an_open_route_and_the_flag_with_which_envoy_crashes(reader_of: Any) -> None:
    reader = reader_of("shop")
    reader.do(block("sh", "oai-extproc envoy-config --config gateway.yaml --processor unix:"))
    reader.paste()
    assert "leads to Bedrock" not in (output := reader.do(f"{CHECK} 2>&1"))
    assert "gateway.yaml is fine" in output
    bootstrap = yaml.safe_load((reader.folder / "envoy.yaml").read_text())
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    routes.insert(0, {"match": {"prefix": "/oai/v1"}, "route": {"cluster": "bedrock"}})
    (reader.folder / "envoy.yaml").write_text(yaml.safe_dump(bootstrap))
    assert "leads to Bedrock for requests that no worker has signed" in reader.do(f"{CHECK} 2>&1")
    flag = "envoy.reloadable_features.ext_proc_graceful_grpc_close"
    bootstrap["layered_runtime"] = {"layers": [{"name": "static", "static_layer": {flag: True}}]}
    (reader.folder / "envoy.yaml").write_text(yaml.safe_dump(bootstrap))
    assert flag in reader.do(f"! {CHECK} 2>&1")


def test_every_command_in_a_sentence_has_its_test() -> None:
    spans = re.findall(r"`([^`]+)`", BLOCK.sub("", DOC))
    commands = {each for each in spans if re.match(r"(oai-extproc|envoy|pip|make|kubectl|docker) ", each)}
    assert commands == {*IN_SENTENCES}
    assert all(code in (ROOT / path).read_text() for path, code in IN_SENTENCES.values())


def test_the_outline_names_every_file() -> None:
    outline = block("yaml", "static_resources:")
    assert set(re.findall(r"# (\w+)\.yaml", outline)) == set(FILES)
    assert set(re.findall(r"--only (\w+) > \1\.yaml", DOC)) == set(FILES)


def test_the_extension_of_a_tunnel_is_what_envoy_config_prints() -> None:
    shown = yaml.safe_load(block("yaml", "bootstrap_extensions:"))
    rendered = yaml.safe_load((ROOT / "envoy" / "bootstrap-proxy.yaml").read_text())
    assert shown["bootstrap_extensions"] == rendered["bootstrap_extensions"]


def test_every_block_is_run_above() -> None:
    folder = Path(__file__).parent
    source = "".join((folder / name).read_text() for name in ("attached_envoy.py", "test_attach.py"))
    run = re.findall(r'block\("(\w+)", "(.*?)"\)', source)
    for language, code in BLOCKS:
        assert any(language == each and code.startswith(beginning) for each, beginning in run), code

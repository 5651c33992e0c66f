"""A worker as a process: it becomes ready, serves, follows gateway.yaml, and stops on a signal.

Envoy is played by grpcio's client, AWS by a server of this test.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import grpc.aio
import pytest
from aiohttp import web

from extproc.config import parse
from extproc.transport import ext_proc_pb2 as pb
from extproc.worker.process import MIB, server_options

SERVING = b"\x08\x01"
TOKENS = {"one": "qc_" + "1" * 43, "two": "qc_" + "2" * 43}
SILENT_SECONDS = 60
"""Timeout for expected events, in seconds."""


def gateway(*names, more=""):
    tokens = [
        {"name": name, "sha256": hashlib.sha256(TOKENS[name].encode()).hexdigest(), "organisations": ["acme"]}
        for name in names
    ]
    return f"organisations: {{acme: {{}}}}\ntokens: {json.dumps(tokens)}\n{more}"


@pytest.fixture
async def aws():
    """Start Bedrock's two endpoints: one model to list, and embeddings that identify their text."""
    application = web.Application()
    model = {"modelId": "amazon.titan-embed-text-v1", "modelArn": "arn", "outputModalities": ["EMBEDDING"]}
    model |= {"inputModalities": ["TEXT"], "inferenceTypesSupported": ["ON_DEMAND"], "providerName": "Amazon"}

    async def models(_):
        return web.json_response({"modelSummaries": [model]})

    async def profiles(_):
        return web.json_response({"inferenceProfileSummaries": []})

    async def invoke(request):
        text = (await request.json())["inputText"]
        return web.json_response({"embedding": [float(text)] * 1536, "inputTextTokenCount": 1})

    application.router.add_get("/foundation-models", models)
    application.router.add_get("/inference-profiles", profiles)
    application.router.add_post("/model/amazon.titan-embed-text-v1/invoke", invoke)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    await runner.cleanup()


class WorkerProcess:
    """A worker process and a channel to it."""

    def __init__(self, folder, aws):
        self.config = folder / "gateway.yaml"
        self.socket = folder / "w0.sock"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": aws,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    async def start(self, *options):
        command = [sys.executable, "-m", "extproc.worker.command"]
        command += ["--config", str(self.config), "--listen", f"unix:{self.socket}", *options]
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*command, env=self.environment, stderr=pipe)
        self.channel = grpc.aio.insecure_channel(f"unix:{self.socket}")

    async def line(self, words):
        """Return the next line of the log with these words in it."""
        async with asyncio.timeout(SILENT_SECONDS):
            async for line in self.process.stderr:
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"it never said {words!r}")

    async def end(self):
        """Return the exit code, and the rest of the log."""
        async with asyncio.timeout(SILENT_SECONDS):
            log = await self.process.stderr.read()
            return await self.process.wait(), log.decode()

    async def check(self):
        return await self.channel.unary_unary("/grpc.health.v1.Health/Check")(b"")

    def process_stream(self):
        return self.channel.stream_stream("/envoy.service.ext_proc.v3.ExternalProcessor/Process")()

    async def exchange(self, *requests):
        """Run one exchange: send the requests one by one; return the last response."""
        call = self.process_stream()
        for request in requests:
            await call.write(request)
            response = pb.ProcessingResponse.FromString(await call.read())
            while response.HasField("override_message_timeout"):
                response = pb.ProcessingResponse.FromString(await call.read())
        await call.done_writing()
        return response

    async def models(self, token):
        """Return the status and body of `GET /oai/v1/models`."""
        response = await self.exchange(headers("GET", "/oai/v1/models", token, end_of_stream=True))
        return response.immediate_response.status.code, json.loads(response.immediate_response.body)


def headers(method, path, token, end_of_stream=False):
    fields = {":method": method, ":path": path, "authorization": f"Bearer {token}"}
    values = [pb.HeaderValue(key=key, raw_value=value.encode()) for key, value in fields.items()]
    message = pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end_of_stream)
    return pb.ProcessingRequest(request_headers=message).SerializeToString()


def body(value):
    message = pb.HttpBody(body=json.dumps(value).encode(), end_of_stream=True)
    return pb.ProcessingRequest(request_body=message).SerializeToString()


@pytest.fixture
async def worker(aws):
    with tempfile.TemporaryDirectory(prefix="oai-", dir="/tmp") as folder:
        worker = WorkerProcess(Path(folder), aws)
        worker.config.write_text(gateway("one"))
        yield worker
        if hasattr(worker, "process"):
            await worker.channel.close()
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.wait()


async def test_it_becomes_ready_and_serves(worker):
    await worker.start()
    line = await worker.line("serving on")
    assert "us-east-1" in line
    assert "secret" not in line
    assert await worker.check() == SERVING
    assert (await worker.models("qc_" + "x" * 43))[0] == 401
    status, listed = await worker.models(TOKENS["one"])
    assert (status, [model["id"] for model in listed["data"]]) == (200, ["amazon.titan-embed-text-v1"])


async def test_it_makes_the_calls_that_an_exchange_waits_for(worker):
    await worker.start()
    await worker.line("serving on")
    question = {"model": "amazon.titan-embed-text-v1", "input": ["1", "2", "3"]}
    response = await worker.exchange(headers("POST", "/oai/v1/embeddings", TOKENS["one"]), body(question))
    assert response.immediate_response.status.code == 200
    vectors = [item["embedding"] for item in json.loads(response.immediate_response.body)["data"]]
    assert vectors == [[1.0] * 1536, [2.0] * 1536, [3.0] * 1536]


async def test_without_aws_it_serves_the_built_in_list_and_logs_why(worker):
    worker.environment |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    await worker.start()
    await worker.line("no AWS credentials")
    await worker.line("serving on")
    status, listed = await worker.models(TOKENS["one"])
    assert status == 200
    assert len(listed["data"]) > 10


async def test_it_follows_gateway_yaml(worker):
    await worker.start()
    await worker.line("serving on")
    assert (await worker.models(TOKENS["two"]))[0] == 401
    worker.config.write_text(gateway("two"))
    await worker.line("gateway.yaml has changed")
    assert (await worker.models(TOKENS["two"]))[0] == 200
    assert (await worker.models(TOKENS["one"]))[0] == 401
    worker.config.write_text(gateway("one", more="modles: {}"))
    assert "modles" in await worker.line("stay")
    assert (await worker.models(TOKENS["two"]))[0] == 200


async def test_it_follows_aws_keys_in_a_file(worker, tmp_path):
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_access_key_id = AKIAOLD\naws_secret_access_key = s\n")
    worker.environment |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    worker.environment |= {"AWS_SHARED_CREDENTIALS_FILE": str(keys)}
    await worker.start()
    await worker.line("AWS credentials: profile default")
    await worker.line("serving on")
    keys.write_text("[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = s\n")
    line = await worker.line("AWS credentials have changed")
    assert "AKIA" not in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_to_stop_lets_open_streams_finish(worker, number):
    await worker.start("--notice", "0")
    await worker.line("serving on")
    call = worker.process_stream()
    await call.write(headers("POST", "/oai/v1/embeddings", TOKENS["one"]))
    await call.read()
    worker.process.send_signal(number)
    await worker.line("stopping, with 1 streams open")
    await call.write(body({"model": "amazon.titan-embed-text-v1", "input": "1"}))
    response = pb.ProcessingResponse.FromString(await call.read())
    assert response.WhichOneof("response") == "request_body"
    await call.done_writing()
    code, log = await worker.end()
    assert code == 0
    assert "stopped" in log
    assert not worker.socket.exists()


async def test_during_its_notice_it_reports_not_serving_and_serves(worker):
    await worker.start("--notice", "3600")
    await worker.line("serving on")
    worker.process.send_signal(signal.SIGTERM)
    await worker.line("stopping")
    while await worker.check() == SERVING:
        pass
    assert (await worker.models(TOKENS["one"]))[0] == 200


async def test_a_second_signal_stops_the_worker_at_once(worker):
    await worker.start("--notice", "0", "--grace", "3600")
    await worker.line("serving on")
    call = worker.process_stream()
    await call.write(headers("POST", "/oai/v1/embeddings", TOKENS["one"]))
    await call.read()
    worker.process.send_signal(signal.SIGTERM)
    await worker.line("stopping")
    worker.process.send_signal(signal.SIGTERM)
    assert (await worker.end())[0] == 0
    assert await call.code() is not grpc.StatusCode.OK


async def test_a_signal_to_stop_while_aws_is_slow_stops_the_worker(worker):
    async def hang(reader, _writer):
        await reader.read(1)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        worker.environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await worker.start("--notice", "0")
        await worker.line("AWS credentials: environment")
        worker.process.send_signal(signal.SIGTERM)
        code, log = await worker.end()
    assert code == 0
    assert "serving on" not in log


async def test_probes_have_a_socket_beside_the_one_with_tls(worker):
    probes = worker.socket.with_name("health.sock")
    await worker.start("--listen", "127.0.0.1:0", "--health", f"unix:{probes}")
    await worker.line("serving on 127.0.0.1:")
    async with grpc.aio.insecure_channel(f"unix:{probes}") as channel:
        assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"") == SERVING
    worker.process.send_signal(signal.SIGTERM)
    assert (await worker.end())[0] == 0


@pytest.mark.parametrize(
    ("options", "config", "words"),
    [
        ((), "organisations: {acme: {modles: {}}}", "organisations.acme.modles"),
        (("--listen", "0.0.0.0:1"), gateway("one"), "plain text leaves this machine"),
        (("--listen", "nowhere"), gateway("one"), "HOST:PORT"),
        (("--tls-client-ca", os.devnull), gateway("one"), "--tls"),
        (("--health", "127.0.0.1:1"), gateway("one"), "--health 127.0.0.1:1 is no socket"),
        (("--tls", os.devnull, os.devnull), gateway("one"), "--tls is for HOST:PORT, and unix:"),
        (("--listen", "0.0.0.0:1", "--tls", __file__, __file__), gateway("one"), "are no PEM certificate and its key"),
    ],
)
async def test_an_impossible_start_is_one_error_message(options, config, words, worker):
    worker.config.write_text(config)
    await worker.start(*options)
    code, log = await worker.end()
    assert code == 2
    assert words in log
    assert "Traceback" not in log


def test_the_transports_limits_equal_envoys_configuration():
    options = server_options(parse(b"limits: {request_bytes: 40000000}\nembeddings: {seconds: 90}"))
    assert options.message_bytes == 50_000_000 + MIB
    assert 180 < options.longest_wait <= 210

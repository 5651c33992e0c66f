"""Starting and stopping it as a user does."""

import http.client
import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bedrock_local.cli import main

COMMAND = [sys.executable, "-m", "bedrock_local"]


def test_help_teaches():
    shown = CliRunner().invoke(main, ["--help"]).output
    for word in (
        "--listen",
        "--region",
        "--access-key",
        "--secret-key",
        "--more-keys",
        "--bearer",
        "--pace",
        "AWS_ENDPOINT_URL_BEDROCK",
    ):
        assert word in shown


@pytest.mark.parametrize("listen", ["9000", "127.0.0.1:port", ":9000", "127.0.0.1:70000"])
def test_an_invalid_address(listen):
    ended = CliRunner().invoke(main, ["--listen", listen])
    assert ended.exit_code == 2
    assert f"{listen} is not HOST:PORT" in ended.output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--pace", "nan", "nan is not a number of seconds"),
        ("--pace", "inf", "inf is not a number of seconds"),
        ("--more-keys", "AKIAONLY", "a key pair is ID:SECRET"),
        ("--more-keys", ":s", "a key pair is ID:SECRET"),
        ("--region", "", "no AWS region"),
        ("--region", "Virginia", "no AWS region"),
    ],
)
def test_an_option_that_cannot_be_used(option, value, message):
    ended = CliRunner().invoke(main, [option, value, "--listen", "256.1.1.1:0"])
    assert ended.exit_code == 2
    assert message in ended.output


def test_a_port_that_is_taken(local):
    ended = subprocess.run(
        [*COMMAND, "--listen", f"127.0.0.1:{local.port}"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{local.port}" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_cuts_its_streams(start, number):
    with start("--pace", "600") as server:
        body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}).encode()
        path = "/model/amazon.nova-lite-v1%3A0/converse-stream"
        connection = server.connection()
        connection.request(
            "POST", path, body, server.signed("POST", path, body, headers={"Content-Type": "application/json"})
        )
        response = connection.getresponse()
        assert response.read(1)
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        connection.close()


def test_the_server_prints_one_line_and_no_more(start):
    with start() as server:
        server.client("bedrock").list_foundation_models()
        server.process.terminate()
        server.process.wait(10)
        assert server.process.stdout.read() == ""


def test_other_keys(start, rejected):
    with start("--access-key", "AKIDEXAMPLE", "--secret-key", "much-longer-secret") as server:
        client = server.client("bedrock", access="AKIDEXAMPLE", secret="much-longer-secret")
        assert client.list_foundation_models()["modelSummaries"]
        assert rejected(server.control.list_foundation_models)[1] == "UnrecognizedClientException"


def test_it_listens_on_ipv6_too():
    process = subprocess.Popen(
        [*COMMAND, "--listen", "[::1]:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    process.terminate()
    _, complaint = process.communicate(timeout=10)
    if "cannot listen on ::1" in complaint:
        pytest.skip("this machine has no IPv6")
    assert line.startswith("bedrock_local listens on http://[::1]:")

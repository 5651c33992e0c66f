"""Signed tokens without their issuer's keys, and gateways whose issuers or filters change."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import jwt
import pytest
import yaml

from tests.conftest import CONFIG
from tests.envoy.gateway.issuers import Issuer, new_key
from tests.envoy.gateway.proxies import PASSWORD, URL_OF_USER, TinyProxy
from tests.envoy.gateway.test_jwt import models


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


def test_without_the_issuers_keys_its_callers_get_a_503_and_others_are_served(
    start_gateway: Any, client_of: Any, eventually: Any
) -> None:
    issuer = Issuer()
    issuer.away = True
    try:
        client = client_of(start_gateway({"jwt": [issuer.entry()]}))
        response = models(client, issuer.token())
        assert (response.status, response.error["code"]) == (503, "issuer_unavailable")
        assert response.headers["retry-after"] == "5"
        assert models(client, issuer.token(key=new_key())).status == 503
        assert models(client, jwt.encode(issuer.claims(), None, "none")).status == 401
        assert client.chat("Hello").status == 200
        issuer.away = False
        eventually(lambda: models(client, issuer.token()).status == 200)
    finally:
        issuer.close()


def test_a_flood_before_there_are_keys_reaches_the_issuer_in_part_only(start_gateway: Any, client_of: Any) -> None:
    issuer = Issuer()
    issuer.open.clear()
    try:
        client = client_of(start_gateway({"jwt": [issuer.entry()]}))
        forged = issuer.token(key=new_key())
        with ThreadPoolExecutor(60) as pool:
            calls = [pool.submit(models, client, forged) for _ in range(60)]
            assert client.chat("Hello").status == 200
            assert {call.result().error["code"] for call in calls} == {"issuer_unavailable"}
        # 8 and 8 that waited for these, Envoy's own, and what its threads do not see at once
        assert issuer.fetches <= 20
    finally:
        issuer.close()


def test_a_change_of_the_file_takes_access_away_at_once_and_gives_none(
    start_gateway: Any, client_of: Any, eventually: Any, issuer: Issuer, scoped: Issuer
) -> None:
    running = start_gateway({"jwt": [issuer.entry()]})
    client = client_of(running)
    eventually(lambda: models(client, issuer.token()).status == 200)

    def write(*entries: Any) -> None:
        since = len(running.log())
        running.config_path.write_text(yaml.safe_dump({**CONFIG, "jwt": list(entries)}))
        running.wait_for("gateway.yaml has changed", since)

    write(issuer.entry(), scoped.entry())
    assert "`jwt` has changed" in running.log()
    assert models(client, scoped.token()).status == 401
    assert models(client, issuer.token()).status == 200
    write(issuer.entry(audiences=["api://other"]), scoped.entry())
    eventually(lambda: models(client, issuer.token()).status == 401)
    write(scoped.entry())
    eventually(lambda: models(client, issuer.token()).status == 401)
    assert client.chat("Hello").status == 200


def test_an_envoy_without_the_filter_lets_nobody_in(
    start_gateway: Any, client_of: Any, eventually: Any, issuer: Issuer
) -> None:
    running = start_gateway()
    client = client_of(running)
    since = len(running.log())
    running.config_path.write_text(yaml.safe_dump({**CONFIG, "jwt": [issuer.entry()]}))
    running.wait_for("gateway.yaml has changed", since)
    eventually(lambda: "none that its Envoy" in models(client, issuer.token()).error["message"])
    assert models(client, issuer.token()).status == 401
    assert client.chat("Hello").status == 200


def test_keys_come_by_tls_and_through_the_networks_proxy(
    start_gateway: Any, client_of: Any, eventually: Any, authority: Any, tmp_path: Path
) -> None:
    issuer = Issuer(context=authority.certify("localhost"), host="localhost")
    proxy = TinyProxy(tmp_path / "proxy", issuer.port, password=True)
    try:
        env = {
            "AWS_CA_BUNDLE": str(authority.certificate),
            "HTTPS_PROXY": f"http://{URL_OF_USER}@127.0.0.1:{proxy.port}",
        }
        running = start_gateway({"jwt": [issuer.entry()]}, env=env)
        client = client_of(running)
        eventually(lambda: models(client, issuer.token()).status == 200)
        assert issuer.fetches
        assert set(proxy.connects()) == {f"localhost:{issuer.port}"}
        assert PASSWORD not in running.log()
    finally:
        proxy.close()
        issuer.close()


def test_keys_come_from_a_server_with_the_name_of_their_url_only(
    start_gateway: Any, client_of: Any, eventually: Any, authority: Any
) -> None:
    issuer = Issuer(context=authority.certify("elsewhere.example"), host="localhost")
    try:
        env = {"AWS_CA_BUNDLE": str(authority.certificate)}
        client = client_of(start_gateway({"jwt": [issuer.entry()]}, env=env))
        for _ in range(3):
            assert models(client, issuer.token()).error["code"] == "issuer_unavailable"
        assert issuer.fetches == 0
        assert client.chat("Hello").status == 200
    finally:
        issuer.close()


def serve(config: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start a worker on a port of this machine."""
    variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "extproc", "serve", "--config", str(config), "--listen", "127.0.0.1:0"]
    return subprocess.Popen(
        [*command, "--notice", "0.1", "--grace", "0.1"], env={**os.environ, **variables}, stdout=log, stderr=log
    )


def test_a_worker_on_tcp_takes_nobodys_word(issuer: Issuer, tmp_path: Path, eventually: Any) -> None:
    config, log = tmp_path / "gateway.yaml", tmp_path / "log"
    config.write_text(yaml.safe_dump({**CONFIG, "jwt": [issuer.entry()]}))
    with log.open("wb") as output, serve(config, output) as process:
        assert process.wait(60) == 2
    assert "--tls-client-ca, with which only Envoy can connect" in log.read_text()
    config.write_text(yaml.safe_dump(CONFIG))
    with log.open("wb") as output, serve(config, output) as process:
        try:
            eventually(lambda: "serving on 127.0.0.1:" in log.read_text())
            config.write_text(yaml.safe_dump({**CONFIG, "jwt": [issuer.entry()]}))
            eventually(lambda: "the settings that were in force stay" in log.read_text())
        finally:
            process.terminate()
    assert "--tls-client-ca" in log.read_text()

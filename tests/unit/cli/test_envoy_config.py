"""`envoy-config`: its output and its errors."""

from typing import get_args

import msgspec
import pytest

from extproc.envoy_config import Fragment
from tests.unit.cli.running import ROOT, Cli, is_rejected

BEHIND = {"HTTPS_PROXY": "http://proxy.example:3128"}
WHOLE = ["--admin", "unix:/run/oai/admin.sock", "--health", "0.0.0.0:8081"]
TLS_WHOLE = ["--listen", "0.0.0.0:8443", "--tls", "/etc/oai/tls/tls.crt", "/etc/oai/tls/tls.key"]
TLS_WHOLE += ["--tls-secrets", "/run/oai"]


@pytest.mark.parametrize(
    ("name", "options", "environment"),
    [
        ("bootstrap", WHOLE, {}),
        ("bootstrap-tls", [*WHOLE, *TLS_WHOLE], {}),
        ("bootstrap-local", WHOLE, {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:9000"}),
        ("bootstrap-proxy", WHOLE, BEHIND),
        *((f"fragment-{part}", ["--only", part], BEHIND if part == "tunnel" else {}) for part in get_args(Fragment)),
    ],
)
def test_the_golden_copies_are_current(cli: Cli, name: str, options: list[str], environment: dict[str, str]) -> None:
    always = ["--config", str(ROOT / "gateway.example.yaml"), "--ca-file", "/etc/ssl/certs/ca-certificates.crt"]
    shown = cli("envoy-config", *always, *options, **environment)
    assert shown.stdout == (ROOT / "envoy" / f"{name}.yaml").read_text(), "`make golden` renders them again"


@pytest.mark.usefixtures("gateway_yaml")
def test_envoy_config_applies_its_options(cli: Cli) -> None:
    options = ["--listen", "[::1]:8443", "--processor", "unix:/a.sock", "--processor", "127.0.0.1:9001"]
    shown = cli("envoy-config", *options, "--ca-file", "/my/ca.pem", "--access-log", "--json").stdout
    document = msgspec.json.decode(shown)
    assert document["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "::1"
    for words in ("/a.sock", "9001", "/my/ca.pem", "StdoutAccessLog"):
        assert words in shown
    assert "admin" not in document


@pytest.mark.usefixtures("gateway_yaml")
def test_the_password_of_a_proxy_is_not_printed(cli: Cli) -> None:
    shown = cli("envoy-config", HTTPS_PROXY="http://user:secret@proxy.example:3128")
    assert "address: proxy.example\n" in shown.stdout
    assert "value: '%ENVIRONMENT(OAI_PROXY_AUTHORIZATION)%'" in shown.stdout
    assert "give Envoy OAI_PROXY_AUTHORIZATION in its environment" in shown.stderr
    for text in ("secret", "dXNlcjpzZWNyZXQ="):
        assert text not in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ([], {"https_proxy": "https://u:secret@p:1"}, ["https_proxy is not the URL of a proxy", "http://HOST:PORT"]),
        (["--only", "tunnel"], {}, ["HTTPS_PROXY names none for https://bedrock-runtime."]),
        (["--only", "tunnel"], {**BEHIND, "NO_PROXY": "amazonaws.com"}, ["--only tunnel is for a proxy"]),
    ],
)
@pytest.mark.usefixtures("gateway_yaml")
def test_proxies_that_cannot_be_meant(
    cli: Cli, options: list[str], environment: dict[str, str], words: list[str]
) -> None:
    rejected = cli("envoy-config", *options, **environment)
    assert is_rejected(rejected, *words)
    assert "secret" not in rejected.stderr


@pytest.mark.usefixtures("gateway_yaml")
def test_tls_to_workers(cli: Cli) -> None:
    workers = ["--processor", "10.0.0.1:9001", "--processor", "worker.test:9001"]
    files = ["--processor-ca", "/ca.pem", "--processor-certificate", "/c.pem", "--processor-key", "/k.pem"]
    shown = cli("envoy-config", *workers, *files, "--only", "cluster").stdout
    for words in ("/ca.pem", "/c.pem", "/k.pem", "exact: 10.0.0.1", "exact: worker.test"):
        assert words in shown
    named = cli("envoy-config", *workers, *files, "--only", "cluster", "--processor-name", "oai.test").stdout
    assert named.count("exact:") == 1
    assert "exact: oai.test" in named


@pytest.mark.usefixtures("gateway_yaml")
def test_secrets_of_tls_to_workers(cli: Cli) -> None:
    files = ["--processor-ca", "/ca.pem", "--processor-certificate", "/c.pem", "--processor-key", "/k.pem"]
    options = ["--processor", "worker.test:9001", *files, "--processor-secrets", "/run/envoy"]
    shown = cli("envoy-config", *options, "--only", "cluster").stdout
    assert not [file for file in files[1::2] if file in shown], "they are named by the secrets"
    assert "exact: worker.test" in shown
    for kind, named in (("ca", files[1:2]), ("certificate", files[3::2])):
        assert f"path: /run/envoy/processor-{kind}.yaml" in shown
        secret = cli("envoy-config", *options, "--secret", kind).stdout
        assert [file for file in files[1::2] if f"filename: {file}\n" in secret] == named


TLS = ["--tls", "/tls/tls.crt", "/tls/tls.key"]


@pytest.mark.usefixtures("gateway_yaml")
def test_tls_of_callers(cli: Cli) -> None:
    shown = cli("envoy-config", *TLS, "--tls-client-ca", "/tls/ca.crt").stdout
    for words in ("filename: /tls/tls.crt", "filename: /tls/tls.key", "filename: /tls/ca.crt"):
        assert words in shown
    assert "require_client_certificate: true" in shown
    assert "DownstreamTlsContext" not in cli("envoy-config").stdout


@pytest.mark.usefixtures("gateway_yaml")
def test_secrets_of_tls_of_callers(cli: Cli) -> None:
    options = [*TLS, "--tls-client-ca", "/tls/ca.crt", "--tls-secrets", "/sds"]
    shown = cli("envoy-config", *options).stdout
    assert "/tls/" not in shown, "they are named by the secrets"
    for kind, named in (("tls", ["/tls/tls.crt", "/tls/tls.key"]), ("tls-client-ca", ["/tls/ca.crt"])):
        assert f"path: /sds/{kind}.yaml" in shown
        secret = cli("envoy-config", *options, "--secret", kind).stdout
        assert [file for file in ("/tls/tls.crt", "/tls/tls.key", "/tls/ca.crt") if f"{file}\n" in secret] == named
        assert "path: /tls\n" in secret, "the folder that is watched"


SOCKET = ["--processor", "unix:/w0.sock"]
TCP = ["--processor", "10.0.0.1:9001"]
CA = ["--processor-ca", "/ca.pem"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TCP, ["10.0.0.1:9001 in plain text", "--processor-ca", "--tls"]),
        (CA, ["--processor-ca is for workers at HOST:PORT"]),
        ([*SOCKET, *TCP, *CA], ["unix:/w0.sock"]),
        ([*TCP, *CA, "--processor-key", "/k"], ["--processor-certificate and --processor-key belong together"]),
        ([*TCP, "--processor-name", "x"], ["without --processor-ca"]),
        ([*SOCKET, "--processor-key", "/k"], ["without --processor-ca"]),
        ([*TCP, "--processor-secrets", "/s"], ["without --processor-ca"]),
        ([*TCP, *CA, "--secret", "ca"], ["--secret ca is a file of --processor-secrets"]),
        ([*SOCKET, "--secret", "ca"], ["--secret ca is a file of --processor-secrets"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "certificate"], ["--processor-certificate", "both"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "ca", "--json"], ["leave out --only and --json"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "ca", "--only", "route"], ["leave out --only"]),
        ([*TCP, *CA, "--processor-secrets", "/s", "--secret", "ca", "--access-log"], ["--access-log", "and --secret"]),
        (["--tls-client-ca", "/ca.pem"], ["--tls-client-ca and --tls-secrets have no effect without --tls"]),
        (["--tls-secrets", "/s"], ["without --tls"]),
        (["--tls", "/c.pem"], ["--tls", "2 arguments"]),
        (["--secret", "tls"], ["--secret tls is a file of --tls-secrets", "--tls"]),
        ([*TLS, "--secret", "tls"], ["--secret tls is a file of --tls-secrets"]),
        ([*TLS, "--tls-secrets", "/s", "--secret", "tls-client-ca"], ["is for --tls-client-ca"]),
        ([*TLS, "--tls-secrets", "/s", "--secret", "tls", "--listen", "127.0.0.1:1"], ["--listen", "and --secret"]),
        ([*TLS, "--only", "filter"], ["--tls", "without --only"]),
        (["--only", "filter", "--health", "127.0.0.1:1"], ["--health", "without --only"]),
        (["--only", "cluster", "--admin", "unix:/a"], ["--admin", "without --only"]),
        (["--only", "route", "--listen", "127.0.0.1:1"], ["--listen"]),
        (["--only", "filter", "--access-log"], ["--access-log", "without --only"]),
        (["--only", "listener"], ["filter", "cluster", "route"]),
        (["--listen", "127.0.0.1:1", "--health", "127.0.0.1:1"], ["--health and --listen are both 127.0.0.1:1"]),
        (["--admin", "0.0.0.0:9901"], ["stop Envoy", "unix:/run/oai/admin.sock", "127.0.0.1"]),
        (["--admin", "envoy.internal:9901"], ["stop Envoy"]),
    ],
)
@pytest.mark.usefixtures("gateway_yaml")
def test_options_that_cannot_be_meant(cli: Cli, options: list[str], words: list[str]) -> None:
    assert is_rejected(cli("envoy-config", *options), *words)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--listen", "8080"], "127.0.0.1:8080"),
        (["--listen", "example.com:80"], "IP:PORT"),
        (["--health", "unix:/a"], "IP:PORT"),
        (["--processor", "unix:a"], "unix:/run/oai/w0.sock"),
    ],
)
@pytest.mark.usefixtures("gateway_yaml")
def test_addresses_that_are_none(cli: Cli, options: list[str], word: str) -> None:
    assert is_rejected(cli("envoy-config", *options), word)


@pytest.mark.usefixtures("gateway_yaml")
def test_an_endpoint_that_is_none(cli: Cli) -> None:
    assert is_rejected(
        cli("envoy-config", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="ftp://x"), "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
    )

"""TLS towards callers, of `up` and of an Envoy with `envoy-config --tls`, while certificates are replaced."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AuthenticationError

from tests.certificates import MountedSecret, Pair, TimedAuthority
from tests.envoy.replaced_files import DEADLINE, NOVA, WAYS, Caller, Certbot, Moved, WrittenOver, question

IN_FORCE = "TLS files have changed: new connections get"
KEPT = r"in force stays what was read of"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimedAuthority:
    return TimedAuthority(tmp_path_factory.mktemp("ca") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> TimedAuthority:
    return TimedAuthority(tmp_path_factory.mktemp("ca") / "stranger")


def files_of(pair: Pair) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


def caller_of(gateway: Any, authority: TimedAuthority, pair: Pair | None = None) -> Caller:
    url = gateway.url.replace("127.0.0.1", "localhost")
    return Caller(url, gateway.tokens["ci"], authority.certificate, pair, gateway.folder)


def options(folder: Path) -> list[str]:
    return ["--tls", str(folder / "tls.crt"), str(folder / "tls.key")]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# up


def test_callers_agree_on_http2_or_http1(start_gateway: Any, authority: TimedAuthority, tmp_path: Path) -> None:
    WrittenOver(tmp_path / "tls", files_of(authority.issue()))
    gateway = start_gateway(args=options(tmp_path / "tls"))
    assert gateway.url.startswith("https://")
    caller = caller_of(gateway, authority)
    assert caller.protocol("h2", "http/1.1") == "h2"
    assert caller.protocol("http/1.1") == "http/1.1"
    assert caller.protocol("http/1.0") is None
    caller.call()
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(gateway.url.replace("https", "http") + "/models", trust_env=False, timeout=DEADLINE)


def test_curl_with_http2(start_gateway: Any, authority: TimedAuthority, tmp_path: Path) -> None:
    """Another TLS library and another HTTP/2 than Python's."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    WrittenOver(tmp_path / "tls", files_of(authority.issue()))
    gateway = start_gateway(args=options(tmp_path / "tls"))
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    for flag, versions in (("--http2", ("2",)), ("--http1.1", ("1.1",)), ("--http1.0", ("1", "1.0"))):
        url = f"{gateway.url.replace('127.0.0.1', 'localhost')}/models"
        command = ["curl", "-s", flag, "--cacert", str(tmp_path / "ca.pem"), "-o", os.devnull]
        command += ["-w", "%{http_version} %{http_code}", "-H", f"authorization: Bearer {gateway.tokens['ci']}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        version, status = done.stdout.split()
        assert version in versions
        assert status == "200"


@pytest.mark.parametrize("way", WAYS)
def test_a_certificate_that_is_replaced_is_served_and_streams_go_on(
    start_gateway: Any, authority: TimedAuthority, tmp_path: Path, way: Any
) -> None:
    first, second = authority.issue(), authority.issue()
    kept = way(tmp_path / "tls", files_of(first))
    gateway = start_gateway(args=options(kept.folder))
    caller = caller_of(gateway, authority)
    assert caller.certificate() == first.certificate
    with caller.client() as client:
        stream = client.chat.completions.create(
            model=NOVA, messages=question("Count to 5. [[local: hold]]"), stream=True
        )
        pieces = (piece for chunk in stream if (piece := chunk.choices[0].delta.content or ""))
        text = next(pieces)
        since = len(gateway.log())
        kept.write(files_of(second))
        gateway.wait_for(IN_FORCE, since)
        until(lambda: caller.certificate() == second.certificate)
        release = urllib.request.Request(f"{gateway.local_url}/_local/release", method="POST")
        urllib.request.urlopen(release, timeout=DEADLINE).close()
        assert text + "".join(pieces) == "1 2 3 4 5"
    caller.call()


def test_a_bad_replacement_keeps_the_old_one_also_when_envoy_starts_again(
    start_gateway: Any, authority: TimedAuthority, tmp_path: Path
) -> None:
    good, next_one = authority.issue(), authority.issue()
    kept = MountedSecret(tmp_path / "tls", files_of(good))
    gateway = start_gateway(args=options(kept.folder))
    gateway.expect_restarts()
    caller = caller_of(gateway, authority)
    for bad, word in bad_versions(authority).values():
        since = len(gateway.log())
        kept.write(bad)
        assert re.search(word, gateway.wait_for(rf"--tls.*{KEPT}.*", since)[0])
        assert caller.certificate() == good.certificate
    [envoy] = gateway.pids("envoy -c")
    since = len(gateway.log())
    os.kill(envoy, signal.SIGKILL)
    until(lambda: gateway.pids("envoy -c") not in ([], [envoy]))

    def serves() -> bool:
        with contextlib.suppress(OSError):
            return caller.certificate() == good.certificate
        return False

    until(serves)
    kept.write(files_of(next_one))
    gateway.wait_for(IN_FORCE, since)
    until(lambda: caller.certificate() == next_one.certificate)
    assert "Traceback" not in gateway.log()


def bad_versions(authority: TimedAuthority) -> dict[str, tuple[dict[str, bytes], str]]:
    """Files that cannot be served, and a part of what is said about them."""
    pair, other = authority.issue(), authority.issue()
    expired, future = authority.issue(life=timedelta(seconds=-60)), authority.issue(begins=timedelta(minutes=50))
    return {
        "mismatched": ({"tls.crt": pair.certificate, "tls.key": other.key}, "write both again"),
        "empty": ({"tls.crt": b"", "tls.key": pair.key}, "write both again"),
        "no PEM": ({"tls.crt": b"certificate", "tls.key": b"key"}, "write both again"),
        "expired": (files_of(expired), r"expired at .*; renew it"),
        "to come": (files_of(future), "is not valid before .*clock, or wait"),
        "a curve that Envoy has not": (files_of(authority.issue(curve="secp256k1")), "Envoy cannot use"),
    }


def up(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", "extproc", "up", "--upstream", "local", "--listen", "127.0.0.1:0", *arguments],
        cwd=folder,
        env={**clean, "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


KINDS = ("mismatched", "empty", "no PEM", "expired", "to come", "a curve that Envoy has not")


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_with_files_that_cannot_be_used_is_one_line(
    authority: TimedAuthority, tmp_path: Path, kind: str
) -> None:
    files, word = bad_versions(authority)[kind]
    WrittenOver(tmp_path / "tls", files)
    done = up(*options(tmp_path / "tls"), folder=tmp_path)
    assert done.returncode == 2
    line = one_error(done.stderr)
    assert re.search(word, line)
    assert str(tmp_path / "tls" / "tls.crt") in line


def one_error(output: str) -> str:
    """The line of the error, which is the only one."""
    lines = output.splitlines()
    assert len(lines) == 1, output
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_every_kind_of_bad_files_is_tried(authority: TimedAuthority) -> None:
    assert tuple(bad_versions(authority)) == KINDS


@pytest.mark.parametrize(
    ("prepare", "word"),
    [
        (lambda folder: None, "tls.crt: No such file or directory; --tls and --tls-client-ca name readable files"),
        (lambda folder: (folder / "tls.crt").mkdir(parents=True), "tls.crt: Is a directory"),
        (lambda folder: (folder.mkdir(), os.mkfifo(folder / "tls.crt")), "tls.crt: Is a pipe"),
    ],
)
def test_a_start_with_files_that_cannot_be_read_is_one_line(
    tmp_path: Path, prepare: Callable[[Path], object], word: str
) -> None:
    prepare(tmp_path / "tls")
    done = up(*options(tmp_path / "tls"), folder=tmp_path)
    assert done.returncode == 2
    assert word in one_error(done.stderr)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_start_with_a_key_that_may_not_be_read_is_one_line(authority: TimedAuthority, tmp_path: Path) -> None:
    WrittenOver(tmp_path / "tls", files_of(authority.issue()))
    (tmp_path / "tls" / "tls.key").chmod(0)
    assert "tls.key: Permission denied" in one_error(up(*options(tmp_path / "tls"), folder=tmp_path).stderr)


def test_client_certificates(
    start_gateway: Any, authority: TimedAuthority, stranger: TimedAuthority, tmp_path: Path
) -> None:
    """Those of the authority are let in, nobody else is; another authority is taken over."""
    first = {**files_of(authority.issue()), "clients.crt": authority.certificate}
    kept = MountedSecret(tmp_path / "tls", first)
    gateway = start_gateway(args=[*options(kept.folder), "--tls-client-ca", str(kept.folder / "clients.crt")])
    mine, theirs = authority.issue("caller"), stranger.issue("caller")
    caller_of(gateway, authority, mine).call()
    for pair in (None, theirs):
        with pytest.raises(Exception, match=r"(?i)connection error"):
            caller_of(gateway, authority, pair).call()
    since = len(gateway.log())
    kept.write({**first, "clients.crt": stranger.certificate})
    gateway.wait_for(f"{IN_FORCE}.*clients need a certificate of", since)

    def lets_in(pair: Pair) -> bool:
        with contextlib.suppress(Exception):
            caller_of(gateway, authority, pair).call()
            return True
        return False

    until(lambda: lets_in(theirs))
    assert not lets_in(mine)


def test_a_caller_without_a_token_is_a_401_whatever_its_certificate(
    start_gateway: Any, authority: TimedAuthority, tmp_path: Path
) -> None:
    kept = WrittenOver(tmp_path / "tls", {**files_of(authority.issue()), "ca.crt": authority.certificate})
    gateway = start_gateway(args=[*options(kept.folder), "--tls-client-ca", str(kept.folder / "ca.crt")])
    with (
        caller_of(gateway, authority, authority.issue("caller")).client() as client,
        pytest.raises(AuthenticationError),
    ):
        client.with_options(api_key="qc_wrong").models.list()


def test_a_connection_that_says_nothing_holds_up_nobody(
    start_gateway: Any, authority: TimedAuthority, tmp_path: Path
) -> None:
    WrittenOver(tmp_path / "tls", files_of(authority.issue()))
    gateway = start_gateway(args=options(tmp_path / "tls"))
    caller = caller_of(gateway, authority)
    half = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), half, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    begun = half.read()
    with contextlib.ExitStack() as end:
        idle = [end.enter_context(socket.create_connection(("127.0.0.1", caller.port), DEADLINE)) for _ in range(4)]
        idle[1].sendall(begun[:20])
        idle[2].sendall(begun)
        caller.call()
        for connection in idle:
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass


@pytest.mark.parametrize(
    ("listen", "tls", "warns"), [("0.0.0.0:0", False, True), ("0.0.0.0:0", True, False), ("127.0.0.1:0", False, False)]
)
def test_up_warns_of_plain_text_on_a_network(
    start_gateway: Any, authority: TimedAuthority, tmp_path: Path, listen: str, tls: bool, warns: bool
) -> None:
    WrittenOver(tmp_path / "tls", files_of(authority.issue()))
    gateway = start_gateway(args=["--listen", listen, *(options(tmp_path / "tls") if tls else ())])
    assert ("without --tls: others on the network can read tokens" in gateway.log()) is warns


# An Envoy of one's own


class Edge:
    """An Envoy with what `envoy-config --tls` prints, and its worker."""

    def __init__(self, site: Any, kept: Any, authority: TimedAuthority) -> None:
        self.port = site.port()
        site.worker(f"unix:{site.folder}/w0.sock")
        paths = [str(kept.folder / name) for name in ("tls.crt", "tls.key")]
        secrets, listen = str(site.folder), f"127.0.0.1:{self.port}"
        shared = ("--config", "gateway.yaml", "--tls", *paths, "--tls-secrets", secrets)
        (site.folder / "tls.yaml").write_text(site.run("envoy-config", *shared, "--secret", "tls"))
        rendered = ("--listen", listen, "--processor", f"unix:{site.folder}/w0.sock")
        self.envoy = site.envoy(site.run("envoy-config", *shared, *rendered))
        url = f"https://localhost:{self.port}/oai/v1"
        self.caller = Caller(url, site.tokens["ci"], authority.certificate)


@pytest.mark.parametrize("way", [MountedSecret, Moved])
def test_an_envoy_follows_files_that_are_moved(site: Any, authority: TimedAuthority, way: Any) -> None:
    first, second, other = authority.issue(), authority.issue(), authority.issue()
    kept = way(site.folder / "tls", files_of(first))
    edge = Edge(site, kept, authority)
    edge.caller.call()
    assert edge.caller.certificate() == first.certificate
    kept.write({"tls.crt": second.certificate, "tls.key": other.key})
    edge.envoy.wait_for(r"(?i)key.*values.*mismatch|KEY_VALUES_MISMATCH")
    assert edge.caller.certificate() == first.certificate
    kept.write(files_of(second))
    until(lambda: edge.caller.certificate() == second.certificate)
    edge.caller.call()


def test_an_envoy_follows_certbot_by_a_hook(site: Any, authority: TimedAuthority) -> None:
    """Envoy does not notice a link that is removed and made again, but anything that is moved beside it."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    [hook] = re.findall(r"--deploy-hook '(.*?)'", page)
    first, second = authority.issue(), authority.issue()
    kept = Certbot(site.folder / "live", files_of(first))
    edge = Edge(site, kept, authority)
    assert edge.caller.certificate() == first.certificate
    kept.write(files_of(second))
    environment = {**os.environ, "RENEWED_LINEAGE": str(kept.folder)}
    subprocess.run(["sh", "-eu", "-c", hook], env=environment, check=True, timeout=DEADLINE)
    until(lambda: edge.caller.certificate() == second.certificate)

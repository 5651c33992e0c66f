"""Certificates between Envoy and a worker on TCP that are renewed while calls are served, as cert-manager does it."""

import contextlib
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, InternalServerError, OpenAI

from tests.certificates import MountedSecret, Pair, TimedAuthority

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 60.0
LISTEN = ("--listen", "127.0.0.1:8080")
IN_FORCE = "TLS files have changed: new connections get"


def secret(pair: Pair, authority: bytes) -> dict[str, bytes]:
    """The three files of a Secret of type kubernetes.io/tls, as cert-manager writes it."""
    return {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority}


class CertifiedWorker:
    """A worker whose Secret is mounted, an authority, and Envoys that trust it; callers' calls go through those."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.authority = TimedAuthority(site.folder / "authority")
        self.mounted = MountedSecret(site.folder / "tls", self.version(self.authority.issue()))
        self.start_worker("localhost:0")
        self.bootstrap = self.render("envoy-config", *LISTEN)
        self._numbers = count()

    def start_worker(self, listen: str) -> None:
        tls = [str(self.mounted.folder / name) for name in ("tls.crt", "tls.key", "ca.crt")]
        options = ("--listen", listen, "--tls", *tls[:2], "--tls-client-ca", tls[2], "--notice", "0.1")
        self.worker = self.site.python("worker", "extproc", "serve", "--config", "gateway.yaml", *options)
        self.address = self.worker.wait_for(r"serving on (localhost:\d+)")[1]

    def version(self, pair: Pair, clients: bytes = b"") -> dict[str, bytes]:
        return secret(pair, clients or self.authority.certificate)

    def renew(self, pair: Pair, clients: bytes = b"") -> None:
        """Swap the Secret, and wait until the worker has taken it over."""
        before = self.worker.output().count(IN_FORCE)
        self.mounted.write(self.version(pair, clients))
        self.worker.wait_for(rf"(?s)(?:{IN_FORCE}.*){{{before + 1}}}")

    def render(self, *more: str) -> str:
        """Return what `envoy-config` prints; what differs between Envoys is put in later."""
        files = ("ca", "ca.crt"), ("certificate", "tls.crt"), ("key", "tls.key")
        options = [text for option, name in files for text in (f"--processor-{option}", f"/etc/envoy/{name}")]
        fixed = ("--config", "gateway.yaml", "--processor", self.address)
        return str(self.site.run(*more, *fixed, *options))

    def envoy(self, client: Pair) -> "EnvoyClient":
        """Start an Envoy that shows this certificate; its connections are new ones."""
        folder = self.site.folder / f"envoy{next(self._numbers)}"
        MountedSecret(folder, secret(client, self.authority.certificate))
        return self.start_envoy(folder, self.bootstrap)

    def start_envoy(self, folder: Path, bootstrap: str) -> "EnvoyClient":
        port = self.site.port()
        bootstrap = bootstrap.replace("/etc/envoy", str(folder)).replace("port_value: 8080", f"port_value: {port}")
        (folder / "envoy.yaml").write_text(bootstrap)
        command = (str(self.site.envoy_binary), "-c", str(folder / "envoy.yaml"), "--disable-hot-restart")
        self.site.start(folder.name, *command, "--concurrency", "1").wait_for("starting workers")
        return EnvoyClient(port, self.site)


class EnvoyClient:
    """A client of one Envoy, which sends one request for each call."""

    def __init__(self, port: int, site: Any) -> None:
        url, key = f"http://127.0.0.1:{port}/oai/v1", site.tokens["ci"]
        self._client = OpenAI(base_url=url, api_key=key, max_retries=0, timeout=DEADLINE)
        self._bedrock = site.bedrock_url

    def call(self) -> None:
        """Make a call that gets a message."""
        response = self._client.chat.completions.create(model=NOVA, messages=question("Hello!"))
        assert "Hello!" in (response.choices[0].message.content or "")

    def fails(self) -> None:
        """Make a call that gets the error of an absent worker."""
        with pytest.raises(APIStatusError) as failed:
            self.call()
        assert (failed.value.status_code, failed.value.code) == (503, "processor_unavailable")

    def stream(self) -> Any:
        """The pieces of a stream, which goes on after the first when it is released."""
        stream = self._client.chat.completions.create(
            model=NOVA, messages=question("Count to 5. [[local: hold]]"), stream=True
        )
        return (piece for chunk in stream if (piece := chunk.choices[0].delta.content or ""))

    def release(self) -> None:
        request = urllib.request.Request(f"{self._bedrock}/_local/release", method="POST")
        urllib.request.urlopen(request, timeout=DEADLINE).close()


def question(text: str) -> Any:
    return [{"role": "user", "content": text}]


class RepeatedCalls:
    """Calls one after another, in a thread, until the end."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.served = 0
        self.lost: list[Exception] = []
        self._call, self._stop = call, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "RepeatedCalls":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):  # a pause for the other tests on this machine
            try:
                self._call()
                self.served += 1
            except Exception as error:
                self.lost.append(error)

    def goes_on(self) -> None:
        """Wait until another call has been served, begun after this."""
        end = time.monotonic() + DEADLINE
        before = self.served
        while self.served < before + 2:
            assert not self.lost
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def pod(site: Any) -> CertifiedWorker:
    return CertifiedWorker(site)


def wait_until(moment: datetime) -> None:
    """The time itself is what is tried here."""
    while (left := (moment - datetime.now(UTC)).total_seconds()) > 0:
        time.sleep(left)


def test_a_certificate_is_renewed_and_expires_and_no_call_is_lost(pod: CertifiedWorker) -> None:
    client, renewed = pod.authority.issue("envoy"), pod.authority.issue()
    life = timedelta(seconds=45)
    expiry = datetime.now(UTC) + life
    pod.renew(pod.authority.issue(life=life))
    old = pod.envoy(client)
    stream = old.stream()
    first = next(stream)
    with RepeatedCalls(old.call) as load:
        load.goes_on()
        pod.renew(renewed)
        load.goes_on()
        assert datetime.now(UTC) < expiry, "it was renewed before it expired"
        wait_until(expiry + timedelta(seconds=2))
        load.goes_on()
        new = pod.envoy(client)
        new.call()
        load.goes_on()
    assert load.lost == []
    old.release()
    assert first + "".join(stream) == "1 2 3 4 5"
    assert "new connections fail" not in pod.worker.output()


def test_an_expired_certificate_is_replaced_later_without_a_restart(pod: CertifiedWorker) -> None:
    client = pod.authority.issue("envoy")
    pod.renew(pod.authority.issue(life=timedelta(seconds=15)))
    pod.worker.wait_for(r"tls\.crt \(not after .*has not been renewed")
    pod.worker.wait_for(r"tls\.crt \(not after .*new connections fail; write a new certificate and key there")
    caller = pod.envoy(client)
    caller.fails()
    pod.renew(pod.authority.issue())
    recovered(caller)


def recovered(caller: EnvoyClient) -> None:
    """Call until Envoy's health checks have found the worker."""
    end = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(InternalServerError):  # a 503
            return caller.call()
        assert time.monotonic() < end


def test_an_authority_that_was_removed_vouches_for_no_new_connection(pod: CertifiedWorker, tmp_path: Path) -> None:
    """Open connections go on, also those of the authority which no longer counts."""
    other = TimedAuthority(tmp_path / "other")
    old = pod.envoy(pod.authority.issue("envoy"))
    with RepeatedCalls(old.call) as load:
        load.goes_on()
        pod.renew(pod.authority.issue(), pod.authority.certificate + other.certificate)
        by_either = pod.envoy(other.issue("envoy")), pod.envoy(pod.authority.issue("envoy"))
        for caller in by_either:
            caller.call()
        pod.renew(pod.authority.issue(), other.certificate)
        pod.envoy(pod.authority.issue("envoy")).fails()
        pod.envoy(other.issue("envoy")).call()
        load.goes_on()
    assert load.lost == []


def test_a_broken_version_changes_nothing_and_the_next_good_one_is_taken(pod: CertifiedWorker) -> None:
    client, good = pod.authority.issue("envoy"), pod.authority.issue()
    with RepeatedCalls(pod.envoy(client).call) as load:
        load.goes_on()
        pod.mounted.write({**pod.version(good), "tls.key": b""})
        pod.worker.wait_for(r"ERROR.*write both again.*in force stays what was read of")
        load.goes_on()
        pod.envoy(client).call()
        pod.renew(good)
        pod.envoy(client).call()
        load.goes_on()
    assert load.lost == []


# Envoy's own files


class Plain:
    """A folder of files that an operator replaces by others."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self.folder = folder
        folder.mkdir()
        self.write(files)

    def write(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            draft = self.folder / f"{name}.new"
            draft.write_bytes(content)
            draft.rename(self.folder / name)


@pytest.mark.parametrize("kept", [MountedSecret, Plain])
def test_envoy_follows_its_own_files_through_secrets(pod: CertifiedWorker, kept: Any, tmp_path: Path) -> None:
    """Both ends go over to another authority, one after the other, under load; then the worker is another one."""
    other = TimedAuthority(tmp_path / "other")
    both = pod.authority.certificate + other.certificate
    folder = pod.site.folder / "followed"
    files = kept(folder, secret(pod.authority.issue("envoy"), pod.authority.certificate))
    secrets = ("--processor-secrets", "/etc/envoy")
    for kind in ("ca", "certificate"):
        text = pod.render("envoy-config", "--secret", kind, *secrets).replace("/etc/envoy", str(folder))
        (folder / f"processor-{kind}.yaml").write_text(text)
    caller = pod.start_envoy(folder, pod.render("envoy-config", *LISTEN, *secrets))
    with RepeatedCalls(caller.call) as load:
        load.goes_on()
        pod.renew(pod.authority.issue(), both)
        files.write(secret(other.issue("envoy"), both))
        load.goes_on()
        pod.renew(other.issue(), other.certificate)
        load.goes_on()
    assert load.lost == []
    pod.worker.stop()
    pod.start_worker(pod.address)
    recovered(caller)

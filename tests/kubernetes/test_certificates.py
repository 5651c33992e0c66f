"""The workers of a mesh and an Envoy with mutual TLS between them: both Secrets are renewed, as cert-manager does it.

The Envoy is one that `envoy-config` has rendered with `--processor-secrets`. A mesh's Envoys get their certificate from
its control plane.
"""

import base64
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Pair, TimedAuthority
from tests.conftest import TOKENS
from tests.kubernetes import overlays as places
from tests.kubernetes.__main__ import IMAGES
from tests.kubernetes.cluster import Namespace, cleared, send, status, until
from tests.kubernetes.conftest import checked, load_image, models, ready
from tests.kubernetes.load import Load

WORKER, EDGE = "oai-extproc", "edge"
SECRETS = {WORKER: "oai-extproc-tls", EDGE: "oai-extproc-client"}
NAME = f"{WORKER}.{places.PREFIX}workers.svc.cluster.local"
IN_FORCE = "TLS files have changed: new connections get"
LIFE = timedelta(seconds=90)


class Secrets:
    """The two Secrets, each with a certificate, its key, and the authorities of the other side."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace, self.folder = namespace, folder
        self.authority = TimedAuthority(folder / "authority")
        self.other = TimedAuthority(folder / "other")

    def write(self, side: str, pair: Pair, authorities: bytes) -> None:
        """Put another version into a Secret."""
        files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authorities}
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        metadata = {"name": SECRETS[side]}
        document = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata}
        self.namespace.kubectl("apply", "-f", "-", stdin=json.dumps({**document, "data": data}))

    def renew_worker(self, pair: Pair, authorities: bytes) -> None:
        """Renew the worker's, and wait until it shows it."""
        name = self.pod(WORKER)["metadata"]["name"]
        before = self.namespace.log(name, "extproc").count(IN_FORCE)
        self.write(WORKER, pair, authorities)
        until("the worker takes it over", lambda: self.namespace.log(name, "extproc").count(IN_FORCE) > before)

    def renew_envoy(self, pair: Pair, authorities: bytes) -> None:
        """Renew Envoy's, and wait until the kubelet has swapped the files."""
        name = self.pod(EDGE)["metadata"]["name"]
        self.write(EDGE, pair, authorities)
        command = ("exec", name, "-c", "envoy", "--", "cat", "/etc/oai/tls/tls.crt")
        until("the files are swapped", lambda: pair.certificate.decode() in self.namespace.kubectl(*command))

    def pod(self, application: str) -> Any:
        (pod,) = self.namespace.pods(application)
        return pod

    def shown(self, client: Pair, authority: bytes) -> str:
        """Return the certificate that the worker shows on a new connection, as PEM."""
        (self.folder / "client.pem").write_bytes(client.certificate + client.key)
        context = ssl.create_default_context(cadata=authority.decode())
        context.load_cert_chain(self.folder / "client.pem")
        context.set_alpn_protocols(["h2"])
        address = (self.pod(WORKER)["status"]["podIP"], 9443)
        with (
            socket.create_connection(address, timeout=30) as connection,
            context.wrap_socket(connection, server_hostname=NAME) as tls,
        ):
            tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            assert tls.recv(1), "the worker takes no such client"
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")


@pytest.fixture(scope="module")
def secrets(overlays: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secrets]:
    """The workers' Deployment and an Envoy, which serve."""
    cleared(f"{places.PREFIX}workers")
    subprocess.run(["docker", "tag", IMAGES[0], places.IMAGE], check=True)
    load_image(places.IMAGE)
    namespace = places.workers(overlays, NAME)
    secrets = Secrets(namespace, tmp_path_factory.mktemp("certificates"))
    try:
        namespace.kubectl("create", "namespace", namespace.name)
        secrets.write(WORKER, secrets.authority.issue(NAME), secrets.authority.certificate)
        secrets.write(EDGE, secrets.authority.issue("envoy"), secrets.authority.certificate)
        namespace.apply()
        until("both are ready", lambda: ready(namespace, WORKER) and ready(namespace, EDGE))
        until("calls are served", lambda: models(namespace.address(EDGE), TOKENS["ci"]) == 200)
        yield secrets
        checked(namespace)
    finally:
        namespace.delete()


def test_certificates_and_their_authority_are_replaced_and_no_call_is_lost(secrets: Secrets) -> None:
    old, new = secrets.authority, secrets.other
    both = old.certificate + new.certificate
    with Load(f"http://{secrets.namespace.address(EDGE)}/oai/v1", TOKENS["ci"]) as load, load.phase() as phase:
        load.goes_on()
        expiry = datetime.now(UTC) + LIFE
        short, renewed = old.issue(NAME, LIFE), old.issue(NAME)
        secrets.renew_worker(short, old.certificate)
        assert secrets.shown(old.issue("envoy"), old.certificate) == short.certificate.decode()
        secrets.renew_worker(renewed, both)
        assert datetime.now(UTC) < expiry, "it was renewed before it expired"
        secrets.renew_envoy(new.issue("envoy"), both)
        until("the first one has expired", lambda: datetime.now(UTC) > expiry)
        last = new.issue(NAME)
        secrets.renew_worker(last, new.certificate)
        load.goes_on()
    assert phase.failures == {}
    assert secrets.shown(new.issue("envoy"), new.certificate) == last.certificate.decode()
    with pytest.raises((OSError, AssertionError)):
        secrets.shown(old.issue("envoy"), new.certificate)


def test_envoy_proves_itself_to_a_new_worker_with_its_new_certificate(secrets: Secrets) -> None:
    """Connections that were open before the renewal end with the worker's process."""
    pod, address = secrets.pod(WORKER), secrets.namespace.address(EDGE)
    send(pod, "extproc", signal.SIGKILL)
    until("it is started again", lambda: status(secrets.pod(WORKER), "extproc")["restartCount"] == 1)
    until("calls are served", lambda: models(address, TOKENS["ci"]) == 200)

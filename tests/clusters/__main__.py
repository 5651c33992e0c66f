"""Runs a mesh's tests against its real controller: `python -m tests.clusters istio [pytest's arguments]`.

It renders the overlay, makes certificates, has an engine script start the controller with both, runs pytest in the
network of the controller's Envoy, and ends everything. What runs there is in `conftest`.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.certificates import Authority
from tests.deploy.conftest import KUBERNETES, ROOT, render

ENGINES = Path(os.environ.get("ENGINES") or ROOT.parent / "shared" / "engine")
"""The folder of the scripts that start controllers: `istiod` and `envoy-gateway`."""

WORK = ROOT / ".run" / "clusters"

SCRIPTS = {"istio": "istiod", "envoy-gateway": "envoy-gateway"}
GATEWAYS = {"istio": "istio-system", "envoy-gateway": "oai-gateway"}
"""The namespace in which each looks for the client certificate."""

ENVOY = "1.40.0"

OUTSIDE = "TESTS_CLUSTERS_OUTSIDE"
"""The variable with the id of a process that is not in the controller's network: from there scripts can be called."""

VERSION = "TESTS_CLUSTERS_VERSION"
"""The variable with the controller's version, as the script prints it."""

BEDROCK = ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock.us-east-1.amazonaws.com")
STRANGER = "stranger.example.com"
"""A name that is not Bedrock's, for which the same authority vouches."""

NAMES = (*BEDROCK, "oai-extproc.oai-gateway.svc.cluster.local", "oai.example.com")
"""Names of AWS that are 127.0.0.1 in the controller's network."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.clusters", description="Test an overlay with its controller."
    )
    parser.add_argument("mesh", choices=SCRIPTS)
    parser.add_argument("--without-tests", action="store_true", help="start the controller, and end it")
    mesh, rest = parser.parse_known_args()
    script = ENGINES / SCRIPTS[mesh.mesh]
    if not script.exists():
        parser.error(f"{script} does not exist: set ENGINES to the folder of the scripts that start controllers")
    folder = WORK / mesh.mesh
    files = prepare(mesh.mesh, folder)
    environment = {**os.environ, "NAMES": " ".join(NAMES), "CA": str(folder / "authority" / "ca.pem")}
    environment[OUTSIDE] = str(os.getpid())
    tests = [sys.executable, "-m", "pytest", "-m", "mesh", "tests/clusters", "--mesh", mesh.mesh, *rest]
    try:
        environment[VERSION] = started([script, "up", *files], environment)
        if mesh.without_tests:
            return 0
        return subprocess.run([script, "exec", *tests], env=environment, cwd=ROOT, check=False).returncode
    finally:
        subprocess.run([script, "down"], env=environment, check=False)


def started(command: list[str | Path], environment: dict[str, str]) -> str:
    """Start the controller; return its version."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, end="", flush=True)
    match = re.search(r"ready \((?:istiod|Envoy Gateway) (\S+), ", done.stdout)
    assert match is not None, done.stdout
    return match[1]


def prepare(mesh: str, folder: Path) -> list[Path]:
    """Write the overlay's objects and the client certificate's Secret; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([KUBERNETES / "processor" / "make-certificates", folder / "certificates"], check=True, timeout=60)
    (folder / "authority").mkdir(exist_ok=True)
    authority = Authority(folder / "authority")
    authority.certify(*BEDROCK)
    authority.certify(STRANGER)
    objects, secret = folder / "objects.yaml", folder / "secret.yaml"
    objects.write_text(here(render(f"overlays/{mesh}")))
    client = folder / "certificates" / "client"
    data = {name: base64.b64encode((client / name).read_bytes()).decode() for name in ("tls.crt", "tls.key", "ca.crt")}
    metadata = {"name": "oai-extproc-client", "namespace": GATEWAYS[mesh]}
    kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
    secret.write_text(json.dumps({**kind, "metadata": metadata, "data": data}))
    return [objects, secret]


def here(text: str) -> str:
    """The objects, with an Envoy Gateway that runs Envoy as a process of this machine: its pods are its provider's."""
    objects = list(yaml.safe_load_all(text))
    for each in objects:
        if each["kind"] == "EnvoyProxy":
            each["spec"]["provider"] = {"type": "Host", "host": {"envoyVersion": ENVOY}}
    return str(yaml.safe_dump_all(objects))


if __name__ == "__main__":
    sys.exit(main())

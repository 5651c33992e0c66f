"""The overlays as a reader has them: a copy of deploy/kubernetes in which the lines marked CHANGE are changed.

`local` is changed in nothing but its namespace. `mine` is the page's copy of `aws`, `sidecar` the example; both have
the organisations and tokens of all tests, and the local Bedrock in AWS's place. `workers` are the Deployment that is
attached to meshes, behind an Envoy that `envoy-config` has rendered. Their pods request less CPU than the overlays have
it, so that a node of two cores holds all four.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import CONFIG
from tests.deploy.conftest import KUBERNETES
from tests.deploy.programs import OAI_EXTPROC, environment
from tests.kubernetes.cluster import Namespace

PREFIX = "oai-test-"
OVERLAYS = ("local", "aws", "sidecar", "istio", "envoy-gateway")

IMAGE = "registry.example.com/oai-extproc:0.2.0"
APPLICATION = "registry.example.com/shop:1.0.0"
"""Names that the overlays give, under which the node has the images that `make image` built."""

OLD_KEY = ("AKIAOLDOLDOLDOLDOLD1", "old-secret")
NEW_KEY = ("AKIANEWNEWNEWNEWNEW1", "new-secret")

ENDPOINTS = [
    {"name": f"AWS_ENDPOINT_URL_{service}", "value": "http://bedrock-local:9000"}
    for service in ("BEDROCK", "BEDROCK_RUNTIME")
]
LESS = {"requests": {"cpu": "50m"}}


def copied(folder: Path) -> Path:
    """Copy deploy/kubernetes below `folder`, where the page's commands run; returns the overlays' folder."""
    place = folder / "deploy" / "kubernetes"
    shutil.copytree(KUBERNETES, place)
    return place / "overlays"


def change(folder: Path, name: str, update: dict[str, Any]) -> Namespace:
    """Change an overlay's kustomization: its namespace, and lists to which `update` adds."""
    path = folder / "kustomization.yaml"
    document = yaml.safe_load(path.read_text())
    document["namespace"] = f"{PREFIX}{name}"
    for key, value in update.items():
        document[key] = [*document.get(key, []), *value]
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return Namespace(document["namespace"], folder)


def local(overlays: Path) -> Namespace:
    """overlays/local, in a namespace of its own."""
    return change(overlays / "local", "local", {})


def credentials(key: tuple[str, str]) -> str:
    """AWS's shared credentials file."""
    return f"[default]\naws_access_key_id = {key[0]}\naws_secret_access_key = {key[1]}\n"


def tokens(*more: dict[str, Any]) -> str:
    """tokens.yaml: the tokens of all tests, and more."""
    return str(yaml.safe_dump({"tokens": [*CONFIG["tokens"], *more]}))


def settings(**more: Any) -> str:
    """gateway.yaml: that of all tests, but for the tokens, and other keys in place of theirs."""
    rest = {key: value for key, value in CONFIG.items() if key != "tokens"}
    return str(yaml.safe_dump({**rest, "tokens_from": "/etc/oai/tokens", **more}))


def fill(folder: Path) -> None:
    """Write the files that a reader fills."""
    (folder / "gateway.yaml").write_text(settings())
    (folder / "tokens.yaml").write_text(tokens())
    (folder / "aws-credentials").write_text(credentials(OLD_KEY))
    bedrock = list(yaml.safe_load_all((KUBERNETES / "overlays" / "local" / "bedrock-local.yaml").read_text()))
    (container,) = bedrock[0]["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "BEDROCK_LOCAL_MORE_KEYS", "value": " ".join(":".join(k) for k in (OLD_KEY, NEW_KEY))}]
    (folder / "bedrock-local.yaml").write_text(yaml.safe_dump_all(bedrock))


def added(patch: dict[str, Any]) -> dict[str, Any]:
    """Return what a reader adds to the kustomization for keys in files and for another Bedrock."""
    return {
        "resources": ["bedrock-local.yaml"],
        "components": ["../../components/aws-keys"],
        "secretGenerator": [{"name": "oai-aws-keys", "files": ["credentials=aws-credentials"]}],
        "patches": [{"patch": yaml.safe_dump(patch)}],
    }


def deployment(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A patch of a Deployment's pods."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"template": {"spec": spec}},
    }


def mine(overlays: Path) -> Namespace:
    """overlays/mine, which the page's commands have copied from overlays/aws."""
    folder = overlays / "mine"
    fill(folder)
    initial = [
        {"name": "render", "env": ENDPOINTS, "resources": LESS},
        {"name": "extproc", "env": ENDPOINTS, "resources": LESS},
    ]
    patch = deployment("oai-gateway", {"initContainers": initial, "containers": [{"name": "envoy", "resources": LESS}]})
    return change(folder, "mine", added(patch))


def sidecar(overlays: Path) -> Namespace:
    """overlays/sidecar, with an application that calls in its SIGTERM handler."""
    folder = overlays / "sidecar"
    fill(folder)
    shutil.copy(Path(__file__).parent / "application.py", folder)
    application = {
        "name": "shop",
        "command": ["python3", "/app/application.py"],
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
    }
    initial = [{"name": f"oai-{name}", "env": ENDPOINTS, "resources": LESS} for name in ("render", "extproc")]
    spec = {
        "initContainers": initial,
        "containers": [application],
        "volumes": [{"name": "app", "configMap": {"name": "shop"}}],
    }
    more = added(deployment("shop", spec))
    more["configMapGenerator"] = [{"name": "shop", "files": ["application.py"]}]
    more["secretGenerator"] += [{"name": "shop", "literals": [f"openai-api-key=qc_{'ci':_<43}"]}]
    return change(folder, "sidecar", more)


def workers(overlays: Path, name: str) -> Namespace:
    """One worker of ../processor, by whose certificate's name an Envoy reaches it over TCP."""
    folder = overlays / "workers"
    folder.mkdir()
    fill(folder)
    (folder / "edge.yaml").write_text((Path(__file__).parent / "edge.yaml").read_text())
    for file, options in (
        ("envoy.yaml", ["--listen", "0.0.0.0:8080", "--health", "0.0.0.0:8081"]),
        ("processor-ca.yaml", ["--secret", "ca"]),
        ("processor-certificate.yaml", ["--secret", "certificate"]),
    ):
        (folder / file).write_text(rendered(folder, name, options))
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-secret"}
    env = [*ENDPOINTS, *({"name": key, "value": value} for key, value in keys.items())]
    patch = deployment("oai-extproc", {"containers": [{"name": "extproc", "env": env, "resources": LESS}]})
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "oai-extproc"}}
    document = {
        "resources": ["../../processor", "bedrock-local.yaml", "edge.yaml"],
        "generatorOptions": {"disableNameSuffixHash": True},
        "configMapGenerator": [
            {"name": "oai-gateway", "behavior": "replace", "files": ["gateway.yaml"]},
            {"name": "edge", "files": ["envoy.yaml", "processor-ca.yaml", "processor-certificate.yaml"]},
        ],
        "secretGenerator": [{"name": "oai-tokens", "behavior": "replace", "files": ["tokens.yaml"]}],
        "images": [{"name": "oai-extproc", "newName": IMAGE.rpartition(":")[0], "newTag": IMAGE.rpartition(":")[2]}],
        "patches": [{"patch": yaml.safe_dump(patch)}, {"patch": yaml.safe_dump({"$patch": "delete", **scaler})}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return change(folder, "workers", {})


def rendered(folder: Path, name: str, options: list[str]) -> str:
    """Return what `envoy-config` prints for an Envoy that follows its certificate and authorities."""
    (folder / "rendered.yaml").write_text("region: us-east-1\n")
    command = [*OAI_EXTPROC, "envoy-config", "--config", str(folder / "rendered.yaml"), "--processor", f"{name}:9443"]
    for option, file in (("ca", "ca.crt"), ("certificate", "tls.crt"), ("key", "tls.key")):
        command += [f"--processor-{option}", f"/etc/oai/tls/{file}"]
    command += ["--processor-secrets", "/etc/edge", "--ca-file", "/etc/ssl/certs/ca-certificates.crt", *options]
    env = environment({each["name"]: each["value"] for each in ENDPOINTS})
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout

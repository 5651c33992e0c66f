"""The mesh's controller, as a user who applies objects sees it: objects are added to it, and removed."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.clusters.__main__ import ENGINES, OUTSIDE, SCRIPTS
from tests.deploy.conftest import Object, Objects


@dataclass(frozen=True)
class Controller:
    """`folder` is where the objects are that it was started with."""

    mesh: str
    folder: Path

    @property
    def objects(self) -> Objects:
        """A copy of the overlay's objects, to be changed."""
        return Objects(yaml.safe_load_all((self.folder / "objects.yaml").read_text()))

    def apply(self, objects: Sequence[Object]) -> None:
        """Apply these objects and no others; the controller may take a moment to act."""
        changed = self.folder / "changed.yaml"
        if self.mesh == "envoy-gateway":
            changed.write_text(yaml.safe_dump_all(objects))
            self.run("up", str(changed), str(self.folder / "secret.yaml"))
            return
        known = [each for each in objects if is_istios(each)]
        changed.write_text(yaml.safe_dump_all(known))
        self.run("kubectl", "apply", "-f", str(changed))
        for each in self.objects:
            if is_istios(each) and name(each) not in map(name, known):
                namespace = each["metadata"]["namespace"]
                self.run("kubectl", "-n", namespace, "delete", each["kind"], each["metadata"]["name"])

    def configuration(self) -> str:
        """Return the configuration that Envoy got from it."""
        return self.run("xds")

    def run(self, *arguments: str) -> str:
        """Call the controller's script, which has to be outside of the controller's network."""
        outside = ["nsenter", "--target", os.environ[OUTSIDE], "--mount", "--net"]
        command = [*outside, str(ENGINES / SCRIPTS[self.mesh]), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def is_istios(each: Any) -> bool:
    return ".istio.io/" in each["apiVersion"]


def name(each: Any) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]

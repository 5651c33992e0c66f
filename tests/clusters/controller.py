"""The mesh's controller, as a user who applies objects sees it: objects are added to it, and removed.

Decision: docs/decisions.md, D110.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.clusters.__main__ import ENGINES, OUTSIDE, SCRIPTS
from tests.deploy.conftest import Object, Objects

DEADLINE = 120.0
"""Seconds after which Envoy Gateway is not going to read its file."""


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
        """Apply these objects and no others; the controller may take a moment to act.

        Envoy Gateway merges a file's objects into those that it has, so that fields which are left out would stay:
        changed objects are taken away first, which has the effect of `kubectl apply`.
        """
        if self.mesh == "envoy-gateway":
            unchanged = [each for each in objects if each in self.objects]
            for each in (unchanged, objects) if len(unchanged) < len(objects) else (objects,):
                before = self.reloads()
                self.write(each)
                self.wait_for_a_reload(before)
            return
        changed = self.folder / "changed.yaml"
        known = [each for each in objects if is_istios(each)]
        changed.write_text(yaml.safe_dump_all(known))
        self.run("kubectl", "apply", "-f", str(changed))
        for each in self.objects:
            if is_istios(each) and name(each) not in map(name, known):
                namespace = each["metadata"]["namespace"]
                self.run("kubectl", "-n", namespace, "delete", each["kind"], each["metadata"]["name"])

    def write(self, objects: Sequence[Object]) -> None:
        """Put these objects into Envoy Gateway's file, in place of those that it has."""
        changed = self.folder / "changed.yaml"
        changed.write_text(yaml.safe_dump_all(objects))
        self.run("up", str(changed), str(self.folder / "secret.yaml"))

    def reloads(self) -> int:
        """Return how often Envoy Gateway has read its file."""
        return self.run("log").count("reload resources finished")

    def wait_for_a_reload(self, before: int) -> None:
        """Wait until Envoy Gateway has read its file once more."""
        end = time.monotonic() + DEADLINE
        while self.reloads() == before:
            assert time.monotonic() < end, "Envoy Gateway does not read its file"
            time.sleep(0.5)

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

#!/usr/bin/env python3
"""Print the size of both images, and the seconds from a container's start until it serves.

Each is started three times; the median counts. The containers have no network but their own loopback, on which the
worker reaches the local Bedrock.
"""

import datetime
import json
import statistics
import subprocess
from pathlib import Path

COMPOSE = Path(__file__).parents[1] / "compose"
STARTS = 3

BEDROCK = ["--network", "none", "oai-extproc-bedrock-local:latest"]
AWS = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local-secret",
    "AWS_ENDPOINT_URL_BEDROCK": "http://127.0.0.1:9000",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:9000",
}


def docker(*arguments: str) -> str:
    """Return the output of docker."""
    command = ["docker", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
    return done.stdout.strip()


def start(options: list[str], ready: str) -> tuple[str, float]:
    """Start a container and wait until its log contains `ready`; return its id, and the seconds that took."""
    container = docker("run", "--detach", "--read-only", "--cap-drop", "ALL", *options)
    logs = ["docker", "logs", "--follow", "--timestamps", container]
    with subprocess.Popen(logs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as log:  # noqa: S603 - ours
        assert log.stdout is not None
        lines = []
        for line in log.stdout:
            lines.append(line)
            if ready in line:
                log.terminate()
                return container, _seconds(docker("inspect", container), line)
    raise SystemExit(f"measure: the container ended without the line {ready!r}:\n{''.join(lines)}")


def _seconds(inspected: str, line: str) -> float:
    started = json.loads(inspected)[0]["State"]["StartedAt"]
    return (_time(line.split()[0]) - _time(started)).total_seconds()


def _time(text: str) -> datetime.datetime:
    """Return Docker's time, cut to microseconds."""
    return datetime.datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00")


def worker_options(bedrock: str) -> list[str]:
    """Return the options of a worker beside the container `bedrock`."""
    environment = [word for name, value in AWS.items() for word in ("--env", f"{name}={value}")]
    mounts = ["--volume", f"{COMPOSE}:/etc/oai:ro", "--tmpfs", "/run/oai:uid=65532,gid=65532,mode=0770"]
    return ["--network", f"container:{bedrock}", *environment, *mounts, "oai-extproc:latest"]


def measure() -> tuple[float, float]:
    """Return the seconds until the local Bedrock serves, and until a worker serves."""
    bedrock, first = start(BEDROCK, "listens on")
    try:
        worker, second = start(worker_options(bedrock), "serving on")
        docker("rm", "--force", worker)
    finally:
        docker("rm", "--force", bedrock)
    return first, second


def main() -> None:
    """Print a line for each image."""
    bedrock, worker = zip(*(measure() for _ in range(STARTS)), strict=True)
    base = int(docker("image", "inspect", "--format", "{{.Size}}", "python:3.13-slim"))
    for image, seconds in (("oai-extproc", worker), ("oai-extproc-bedrock-local", bedrock)):
        size = int(docker("image", "inspect", "--format", "{{.Size}}", f"{image}:latest"))
        sizes = f"{size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB above its base"
        print(f"{image + ':latest':34} {sizes}; serves {statistics.median(seconds):.2f} s after its start")


if __name__ == "__main__":
    main()

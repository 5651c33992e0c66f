"""Python modules in the folder in which a command is started are not run, by the command or by its processes."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OAI_EXTPROC = str(Path(sys.executable).with_name("oai-extproc"))
DEADLINE = 60.0

MODULES = ("extproc/__init__", "bedrock_local/__init__", "gzip", "uvloop", "yaml", "botocore/__init__", "logging")
"""The gateway's own, one of Python's that is imported late, and those of others."""

PLANT = "import os, sys\nopen({ran!r}, 'a').write(f'{{__name__}} in {{sys.orig_argv}}\\n')\nos._exit(9)\n"

GATEWAY = """\
region: us-east-1
organisations: {acme: {}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that others can write to, and have; what they wrote leaves `ran` beside it once it is run."""
    folder = tmp_path / "shared"
    for name in MODULES:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PLANT.format(ran=str(tmp_path / "ran")))
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Ours, with keys to be stolen, and without what keeps Python from the current folder by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    clean.pop("PYTHONSAFEPATH", None)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
    endpoints = {"AWS_ENDPOINT_URL_BEDROCK": nowhere, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": nowhere}
    return {**clean, **keys, **endpoints, "HOME": str(folder), "AWS_MAX_ATTEMPTS": "1"}


def ran(folder: Path) -> str:
    """The planted modules that have run."""
    path = folder.parent / "ran"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("command", ["check", "models", "envoy-config"])
def test_a_command_runs_nothing_of_its_current_folder(folder: Path, command: str) -> None:
    done = subprocess.run(
        [OAI_EXTPROC, command, "--config", "../gateway.yaml"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, ran(folder)) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("options", "ready"),
    [
        (["up", "--upstream", "local", "--listen", "127.0.0.1:0"], "is ready"),
        (["up", "--upstream", "aws", "--listen", "127.0.0.1:0"], "is ready"),
        (["serve", "--listen", "unix:{parent}/w0.sock", "--notice", "0"], "serving on"),
    ],
    ids=["up-local", "up-aws", "serve"],
)
def test_a_gateway_runs_nothing_of_its_current_folder(folder: Path, options: list[str], ready: str) -> None:
    with subprocess.Popen(
        [OAI_EXTPROC, *(option.format(parent=folder.parent) for option in options), "--config", "../gateway.yaml"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if ready in line or ran(folder):
                process.terminate()
    assert ran(folder) == "", output
    assert ready in output


def test_each_process_of_ours_is_started_so() -> None:
    """Also those that are started late, such as the one that translates large requests."""
    commands = [
        (file.name, match[0])
        for file in (ROOT / "extproc").rglob("*.py")
        for match in re.finditer(r"\[sys\.executable, [^\]]*", file.read_text())
    ]
    assert len(commands) >= 4
    assert [(name, command) for name, command in commands if '"-P"' not in command] == []

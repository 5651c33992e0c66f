"""Odd files: no regular file, no end, a full disk. Each leads to one line, no traceback, and no wait without end."""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PLAIN = "region: us-east-1\norganisations: {acme: {}}\n"
DEADLINE = 90.0
UP = ("up", "--upstream", "local", "--listen", "127.0.0.1:0", "--config")
SERVE = ("serve", "--listen", "unix:{folder}/w.sock", "--config")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets, with odd files in it."""
    with tempfile.TemporaryDirectory(prefix="odd-") as name:
        folder = Path(name)
        (folder / "gateway.yaml").write_text(PLAIN)
        os.mkfifo(folder / "pipe")
        with (folder / "huge").open("wb") as huge:
            huge.truncate(1 << 30)
        (folder / "tokens").mkdir()
        os.mkfifo(folder / "tokens" / "pipe.yaml")
        (folder / "pipe-of-tokens.yaml").write_text(f"{PLAIN}tokens_from: pipe\n")
        (folder / "folder-of-pipes.yaml").write_text(f"{PLAIN}tokens_from: tokens\n")
        (folder / "two-tokens.yaml").write_text(f"{PLAIN}tokens_from: huge\n")
        yield folder


def environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nothing = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return {**ours, **nothing, "AWS_EC2_METADATA_DISABLED": "true", **more}


def here(folder: Path, arguments: tuple[str, ...]) -> list[str]:
    return [each.replace("{folder}", str(folder)) for each in arguments]


def run(folder: Path, *arguments: str, before: Callable[[], None] | None = None, **more: str) -> str:
    """Return the last line of a command that cannot work; it prints no traceback, and it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "extproc", *here(folder, arguments)],
        cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=DEADLINE, preexec_fn=before,
        check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*UP, "pipe"), "pipe: Is a pipe, a socket or a device, not a file"),
        ((*SERVE, "pipe"), "pipe: Is a pipe"),
        (("check", "--config", "pipe"), "pipe: Is a pipe"),
        (("check", "--config", "/dev/zero"), "/dev/zero: Is a pipe, a socket or a device"),
        (
            ("check", "--config", "huge"),
            "huge: Is larger than 8388608 bytes; split it: `tokens_from` may name a folder of files",
        ),
        (("check", "--config", "pipe-of-tokens.yaml"), "pipe: Is a pipe"),
        (("check", "--config", "folder-of-pipes.yaml"), "tokens: contains no file"),
        (("check", "--config", "two-tokens.yaml"), "huge: Is larger than 8388608 bytes; split it: `tokens_from`"),
        ((*SERVE[:2], "127.0.0.1:0", "--tls", "pipe", "pipe", "--config", "gateway.yaml"), "pipe: Is a pipe"),
    ],
)
def test_a_path_that_is_no_regular_file(arguments: tuple[str, ...], words: str, folder: Path) -> None:
    assert words in run(folder, *arguments)


def test_a_pipe_of_authorities(folder: Path) -> None:
    assert "AWS_CA_BUNDLE names" in run(folder, *UP, "gateway.yaml", AWS_CA_BUNDLE="pipe")
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "https://127.0.0.1:1"}
    assert "pipe cannot be read" in run(folder, *SERVE, "gateway.yaml", AWS_CA_BUNDLE="pipe", **keys)


def test_a_disk_without_room(folder: Path) -> None:
    """Envoy's configuration is longer than a file may be here; a full disk is met in the same place."""

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    error = run(folder, *UP, "gateway.yaml", before=limit_file_size)
    assert re.search(r"envoy cannot be started: .*: File too large", error)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_tokens_that_may_not_be_read(folder: Path) -> None:
    (folder / "two-tokens.yaml").write_text(f"{PLAIN}tokens_from: tokens\n")
    (folder / "tokens").chmod(0o700)
    folder.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-c", SOMEBODY, str(folder / "two-tokens.yaml")],
        env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.stdout.strip().startswith(f"refused: {folder}/tokens: Permission denied")


SOMEBODY = """
import os, sys
from pathlib import Path
from extproc import config
os.setuid(65534)
try:
    config.load(Path(sys.argv[1]))
except config.ConfigError as error:
    print("refused:", error)
"""

HANGS = "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(3600)\n"


def hanging_profile(folder: Path) -> dict[str, str]:
    """A profile whose credential process never ends; it leaves its process id in the file `asked`."""
    (folder / "hangs.py").write_text(HANGS)
    process = f"{sys.executable} {folder / 'hangs.py'} {folder / 'asked'}"
    (folder / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = {process}\n")
    return {"AWS_CONFIG_FILE": str(folder / "config")}


def test_a_worker_serves_while_a_credential_process_hangs(folder: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "extproc", *here(folder, SERVE), "gateway.yaml", "--notice", "0"],
        cwd=folder, env=environment(**hanging_profile(folder)), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stderr is not None
    output = ""
    try:
        for line in worker.stderr:
            output += line
            if "serving on" in line:
                break
        assert "AWS credentials were not found in 15 s: serving without them" in output
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(DEADLINE) == 0
        assert "Traceback" not in output + worker.stderr.read()
    finally:
        worker.kill()
        worker.wait()
        leave(folder)


def leave(folder: Path) -> None:
    """End the credential process, if there is one."""
    end = time.monotonic() + DEADLINE
    while not (folder / "asked").exists() or not (folder / "asked").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    pid = int((folder / "asked").read_text())
    if Path(f"/proc/{pid}/cmdline").exists():
        os.kill(pid, signal.SIGKILL)


def test_up_does_not_wait_for_ever_for_credentials(folder: Path, monkeypatch: Any) -> None:
    from extproc.stack import upstream

    monkeypatch.setattr(upstream, "CREDENTIALS_SECONDS", 2.0)
    for name, value in environment(**hanging_profile(folder)).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(upstream.UpstreamError, match="not found within 2 s: does a `credential_process`"):
        upstream.choose("aws", None, os.environ)
    leave(folder)


def test_a_lookup_that_hangs_is_ended_with_what_it_started(folder: Path, monkeypatch: Any) -> None:
    from extproc.aws import lookup

    monkeypatch.setattr(lookup, "SECONDS", {"identity": 5.0})
    for name, value in environment(**hanging_profile(folder)).items():
        monkeypatch.setenv(name, value)
    aws_lookup = lookup.AwsLookup("identity")
    aws_lookup.set_region("us-east-1")
    with pytest.raises(lookup.AwsLookupError, match=r"has not returned the identity within 5 s.*credential_process"):
        aws_lookup.ask("identity")
    pid = int((folder / "asked").read_text())
    end = time.monotonic() + DEADLINE
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text():
        assert time.monotonic() < end, "the credential process is still there"
        time.sleep(0.05)

"""The shell lines of docs/kubernetes.md, run as a reader runs them.

Differences here: the namespace, ports that another program may have, and `kind load` and `docker push`, whose images
go to the node by the engine's own script. Everything else of a line is run unchanged.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.conftest import ROOT

DOCS = ROOT / "docs" / "kubernetes.md"
NAMESPACE = re.compile(r"(-n |namespace )(oai-gateway|shop)\b")


def sections() -> dict[str, str]:
    """Return the page's text by heading, of whatever depth."""
    parts = re.split(r"^#+ (.*)\n", DOCS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(section: str) -> list[str]:
    """Return the shell lines of one section; continued lines are one."""
    return list(_lines(sections()[section]))


def every_command() -> list[str]:
    """Return the shell lines of the whole page."""
    return list(_lines(DOCS.read_text()))


def _lines(text: str) -> Iterator[str]:
    for code in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield from (line for line in code.replace("\\\n", " ").splitlines() if line)


def here(line: str, namespace: str) -> str:
    """Return a line for the namespace of the tests."""
    return NAMESPACE.sub(rf"\g<1>{namespace}", line)


def run(line: str, folder: Path, namespace: str) -> str:
    """Run a line in `folder`; what it printed, warnings included."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", here(line, namespace)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert "Warning" not in done.stderr, f"{line}\n{done.stderr}"
    return done.stdout + done.stderr

"""The build of this copy: its commit, whether it is an image's, and whether its hot packages are compiled (setup.py).

setup.py runs this file to record the commit in wheels and source distributions, so it imports nothing of the package.

Decision: docs/decisions.md, D148.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

RECORD = "commit.txt"
"""The file, beside this one, in which setup.py records the commit; a checkout has none."""

IMAGE_SOURCE = Path(sys.prefix, "share", "oai-extproc", "source")
"""The digest of an image's source (deploy/docker/source.py), which only images have."""

IMAGE_REVISION = "OAI_EXTPROC_REVISION"
"""The variable with the commit of an image: its build argument REVISION, "unknown" without it."""


def compiled() -> bool:
    """Return whether requests are translated by machine code. Both kinds do the same."""
    spec = importlib.util.find_spec("extproc.exchange.exchange")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def in_image() -> bool:
    """Return whether this copy is that of a container image, in which nothing can be installed."""
    return IMAGE_SOURCE.is_file()


def commit() -> str:
    """Return the commit of this copy, with `-dirty` behind it if files were changed; or why it is unknown."""
    package = Path(__file__).parent
    if in_image():
        return _image_commit()
    return recorded(package) or commit_of(package.parent) or "unknown: made from a folder without Git"


def _image_commit() -> str:
    revision = os.environ.get(IMAGE_REVISION, "unknown")
    if revision not in ("", "unknown"):
        return revision
    return f"unknown: the image was built without REVISION, from the source {IMAGE_SOURCE.read_text()[:12]}"


def recorded(package: Path) -> str | None:
    """Return the commit that setup.py recorded in a copy of the package; None if it recorded none."""
    try:
        return (package / RECORD).read_text().strip()
    except FileNotFoundError:
        return None


def commit_of(folder: Path) -> str | None:
    """Return the commit of a checkout; None without Git, and for a folder within a repository of something else."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    # Git's own variables, which its hooks have, name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

#!/usr/bin/env python3
"""Identify the source that an image was built from.

    source.py digest [FOLDER]    print the digest of a checkout, or of the part of it that a build sees
    source.py compare FOLDER     in an image: exit with 1 if the checkout in FOLDER differs from the image's source
    source.py find IMAGE         beside a Docker engine: print the commits that have the image's source

Labels are constants or build arguments: a build cannot compute them. The digest needs no argument. It is the SHA-256 of
the lines "<git blob id> <path>" of all files that go into the images, so `git ls-tree` gives that of any commit.

Decision: docs/decisions.md, D99.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

FILES = (
    "Dockerfile",
    "LICENSE",
    "deploy/docker/build-requirements.txt",
    "deploy/docker/python-headers",
    "deploy/docker/requirements.txt",
    "deploy/docker/sbom.py",
    "deploy/docker/source.py",
    "deploy/docker/strip-python",
    "pyproject.toml",
    "setup.py",
)
FOLDERS = ("bedrock_local", "extproc")
"""The source: these files, and every file of these folders but Python's caches."""

RECORD = Path(__file__).with_name("source")
"""An image's own digest, which its build wrote."""

COMMITS = 1000
"""Number of commits that `find` looks through."""


def digest(blobs: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a source, whose files are given as (path, git blob id)."""
    lines = (f"{blob} {path}\n" for path, blob in sorted(blobs))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def of_folder(folder: Path) -> str:
    """Return the digest of the source in a folder; raise OSError if a part is missing or not readable."""
    return digest((path.as_posix(), _blob(folder / path)) for path in _paths(folder))


def of_commit(commit: str) -> str:
    """Return the digest of a commit's source."""
    listed = _git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *FILES, *FOLDERS)
    entries = (entry.split("\t") for entry in listed.split("\0") if entry)
    return digest((path, about.split()[2]) for about, path in entries)


def _paths(folder: Path) -> Iterator[Path]:
    yield from map(Path, FILES)
    for name in FOLDERS:
        if not (folder / name).is_dir():
            raise FileNotFoundError(2, "No such folder", name)
        for path in (folder / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(folder)


def _blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def compare(checkout: Path) -> str | None:
    """Return the error if this image was built from another source than the checkout, or None.

    A checkout that is not readable is reported on standard error; it is no fault of the image.
    """
    built = RECORD.read_text().strip()
    try:
        current = of_folder(checkout)
    except OSError as error:
        print(
            f"source: the image cannot be compared with its source: {error.strerror}: {error.filename}", file=sys.stderr
        )
        return None
    if built == current:
        return None
    return (
        f"the image was built from another source ({built[:12]}) than the checkout beside docker-compose.yml "
        f"({current[:12]}). Build it again: `docker compose build`, or `docker-compose build`"
    )


def find(image: str) -> str:
    """Return a line for each commit that has the source of the image, the newest first."""
    folder = "/opt/oai/share/oai-extproc/source"
    built = _output("docker", "run", "--rm", "--network", "none", "--entrypoint", "cat", image, folder).strip()
    log = _git("log", f"--max-count={COMMITS}", "--format=%H %cs %s").splitlines()
    lines = [line for line in log if of_commit(line.split()[0]) == built]
    if not lines:
        sys.exit(f"source: none of the last {len(log)} commits has the source {built} of {image}")
    return "\n".join(lines)


def _git(*arguments: str) -> str:
    return _output("git", "-C", str(Path(__file__).parent), *arguments)


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - docker and git
    if done.returncode:
        sys.exit(f"source: `{' '.join(command[:3])} …` failed")
    return done.stdout


def main(command: str = "", place: str = ".") -> None:
    """Run one of the commands."""
    if command == "digest":
        print(of_folder(Path(place)))
    elif command == "compare":
        difference = compare(Path(place))
        sys.exit(difference and f"source: {difference}")
    elif command == "find":
        print(find(place))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])

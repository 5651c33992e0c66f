"""No file has anybody install this package by its name, which is not ours in any index.

Decision: docs/decisions.md, D149.
"""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BY_NAME = re.compile(
    r"oai-extproc\[|\b(?:pip3?|pipx|uv|uvx)\s(?:[^\n`|]*\s)?(?:install|add|run|inject|download|upgrade)\s+(?:-\S+\s+)*['\"]?oai-extproc\b"
)


def test_the_pattern_finds_what_it_is_for() -> None:
    for found in (
        "pip install 'oai-extproc[envoy]'",
        "pipx install oai-extproc",
        "uv tool install --force oai-extproc",
        "uv pip install -U oai-extproc==1",
        "python3 -m pip install oai-extproc",
    ):
        assert BY_NAME.search(found), found
    for other in (
        "helm install oai-extproc deploy/helm/oai-extproc",
        "pip install '.[envoy]'",
        "by pip | `oai-extproc`",
    ):
        assert not BY_NAME.search(other), other


def test_nothing_is_installed_by_name() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            assert not BY_NAME.search(path.read_text(errors="replace")), name


def test_no_requirement_has_the_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    assert not [each for requirements in lists for each in requirements if each.startswith(project["name"])]
    extras = project["optional-dependencies"]
    assert {*extras["envoy-config"]} < {*extras["envoy"]}

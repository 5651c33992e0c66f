"""One version and one date, wherever they stand: the package, the changelog, the README, pages, images, the chart."""

import re
import subprocess
from datetime import date
from pathlib import Path

from extproc import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## (?!Unreleased$)(.*)$", CHANGELOG, re.MULTILINE)

STATED = {
    "CHANGELOG.md": r"^## (\S+) - ",
    "README.md": r"^\*\*Status\*\*: (\d[\w.]*), of ",
    "Dockerfile": r"^ARG VERSION=(.*)$",
    "deploy/helm/oai-extproc/Chart.yaml": r"^(?:version|appVersion): \"?([\d.]+)",
    "deploy/kubernetes/overlays/aws/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/overlays/envoy-gateway/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/overlays/istio/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/overlays/sidecar/kustomization.yaml": r"newTag: (\S+)",
    "docs/install.md": r"oai_extproc-(\d[\d.]*\d)|, version (\S+) ",
    "docs/kubernetes.md": r"newTag: (\d[\d.]*\d)|oai-extproc:(\d\S+)",
    "docs/upgrading.md": r"\((\d+\.\*\*\d+\*\*\.\d+)\)",
    "tests/kubernetes/overlays.py": r"oai-extproc:(\d[\d.]*\d)",
}
"""Each file with the version of this package, and the pattern that finds it there."""

MEASURED = ("docs/benchmarks/",)
"""What was measured, and with which version then."""


def stated(path: str, pattern: str) -> list[str]:
    found = re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)
    versions = ["".join(each) if isinstance(each, tuple) else each for each in found]
    return [each.replace("*", "") for each in versions]


def test_each_place_has_the_packages_version() -> None:
    for path, pattern in STATED.items():
        versions = stated(path, pattern)
        assert versions, path
        assert {*(versions[:1] if path == "CHANGELOG.md" else versions)} == {__version__}, path


def test_no_other_file_has_it() -> None:
    """A file with this very version, beside this package's name, is in the table above."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    own = re.compile(
        rf"(?:oai.extproc\D{{0,9}}|newTag: |appVersion\D{{0,3}}|VERSION=){re.escape(__version__)}(?![\w.]*\d)"
    )
    known = {*STATED, "extproc/__init__.py"}
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if name and name not in known and not name.startswith(MEASURED) and path.is_file():
            assert not own.search(path.read_text(errors="replace")), name


def test_releases_have_dates_and_the_newest_is_first() -> None:
    parts = [each.split(" - ") for each in RELEASES]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", number) for number, _ in parts)
    numbers = [tuple(map(int, number.split("."))) for number, _ in parts]
    dates = [date.fromisoformat(day) for _, day in parts]
    assert numbers == sorted({*numbers}, reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_the_readme_has_the_date_of_the_release() -> None:
    number, day = RELEASES[0].split(" - ")
    assert f"**Status**: {number}, of {day} " in (ROOT / "README.md").read_text()

"""Both platforms of the images: each package of the locks has a wheel for both, whose hash is in the lock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TAGS = ("manylinux_2_5", "manylinux_2_12", "manylinux_2_17", "manylinux2014", "manylinux_2_28", "manylinux_2_34")
"""The platform tags that pip accepts with the C library of Debian 13 (2.41)."""


@pytest.mark.parametrize("lock", ["requirements.txt", "build-requirements.txt"])
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_every_locked_package_has_a_wheel(architecture: str, lock: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "--report", str(report)]
    command += ["--target", str(tmp_path / "nowhere"), "--python-version", "3.13", "--implementation", "cp"]
    command += [word for tag in TAGS for word in ("--platform", f"{tag}_{architecture}")]
    done = subprocess.run(
        [*command, "--requirement", str(ROOT / "deploy" / "docker" / lock)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = [entry["download_info"]["url"].rpartition("/")[2] for entry in json.loads(report.read_text())["install"]]
    assert len(files) == (ROOT / "deploy" / "docker" / lock).read_text().count("==")
    assert all(name.endswith(("-any.whl", f"_{architecture}.whl")) or f"_{architecture}." in name for name in files)
    assert any(architecture in name for name in files)

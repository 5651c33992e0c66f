"""deploy/supported.py: the machines that the gateway runs on; tests/install compares them with the wheels."""

from pathlib import Path

import pytest

from tests.scripts import load

SUPPORTED = load(Path(__file__).parents[2] / "deploy" / "supported.py")


@pytest.mark.parametrize(
    "machine",
    [
        ("linux", "x86_64", "2.31"),
        ("linux", "aarch64", "2.41"),
        ("linux", "x86_64", "3.0"),
        ("darwin", "arm64", "15.0"),
        ("darwin", "arm64", "26.1.2"),
    ],
)
def test_a_machine_with_a_wheel(machine: tuple[str, str, str]) -> None:
    assert SUPPORTED.missing(*machine) == ""


@pytest.mark.parametrize(
    ("machine", "lacks"),
    [
        (("linux", "x86_64", "2.28"), "Linux with glibc 2.28"),
        (("linux", "x86_64", "2.4"), "Linux with glibc 2.4"),
        (("linux", "x86_64", ""), "Linux without glibc"),
        (("linux", "riscv64", "2.41"), "Linux on riscv64"),
        (("darwin", "arm64", "14.7"), "macOS 14.7"),
        (("darwin", "x86_64", "15.1"), "macOS on x86_64"),
        (("win32", "AMD64", ""), "Windows"),
        (("freebsd14", "amd64", ""), "freebsd14"),
    ],
)
def test_a_machine_without(machine: tuple[str, str, str], lacks: str) -> None:
    assert SUPPORTED.missing(*machine) == lacks


def test_this_machine_runs_the_envoy_of_the_tests() -> None:
    assert SUPPORTED.missing(*SUPPORTED.this_machine()) == ""

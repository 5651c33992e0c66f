"""A file of tokens is replaced by a draft beside it, also where others may write in its folder."""

import os
from pathlib import Path

import pytest

from extproc.cli import token_files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"a: 1\n")
    return path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_draft_has_the_files_mode_without_bits_that_lend_its_owners_rights(path: Path) -> None:
    path.chmod(0o6640)
    token_files._replace(path, b"a: 1\n", b"a: 2\n")
    assert (path.read_bytes(), mode(path)) == (b"a: 2\n", 0o640)


def test_a_link_in_place_of_the_draft_gives_no_other_file_the_mode(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root writes tokens for a gateway of another user, who owns the folder."""
    other, fstat = tmp_path / "shadow", os.fstat
    other.write_text("secret")
    other.chmod(0o600)
    path.chmod(0o644)

    def swapped(handle: int) -> os.stat_result:
        for draft in tmp_path.glob(".gateway.yaml.*"):
            draft.unlink()
            draft.symlink_to(other)
        return fstat(handle)

    monkeypatch.setattr(os, "fstat", swapped)
    token_files._replace(path, b"a: 1\n", b"a: 2\n")
    assert path.is_symlink(), "the draft was swapped"
    assert mode(other) == 0o600

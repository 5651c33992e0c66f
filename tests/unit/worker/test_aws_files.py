"""AWS's files while they change: each version is reported once, when it is at rest."""

from pathlib import Path

import pytest

from extproc.worker.aws_files import AwsFiles
from tests.deploy.pods import mount


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text("[default]\n")
    return path


def watched(credentials: Path) -> AwsFiles:
    return AwsFiles({"AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_CONFIG_FILE": "/dev/null"})


def test_a_new_version_is_reported_once_and_at_the_second_look(credentials: Path) -> None:
    files = watched(credentials)
    assert [files.changed() for _ in range(2)] == [False, False]
    credentials.write_text("[default]\naws_access_key_id = A\n")
    assert [files.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_still_changes_is_not_reported(credentials: Path) -> None:
    files = watched(credentials)
    for length in range(1, 4):
        credentials.write_text("[default]\n" + "#" * length)
        assert not files.changed()
    assert files.changed()


def test_a_file_that_goes_and_comes_is_reported(credentials: Path) -> None:
    files = watched(credentials)
    credentials.unlink()
    assert [files.changed() for _ in range(2)] == [False, True]
    credentials.write_text("[default]\n")
    assert [files.changed() for _ in range(2)] == [False, True]


def test_a_secret_that_the_kubelet_swaps_is_another_version(tmp_path: Path) -> None:
    mount(tmp_path / "aws", {"credentials": b"one"})
    files = watched(tmp_path / "aws" / "credentials")
    mount(tmp_path / "aws", {"credentials": b"two"})
    assert [files.changed() for _ in range(3)] == [False, True, False]


@pytest.mark.parametrize("variable", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
def test_each_file_has_its_variable_with_home_and_variables_in_it(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "there")
    (tmp_path / "there").mkdir()
    files = AwsFiles({variable: "~/$PLACE/file"})
    (tmp_path / "there" / "file").write_text("")
    assert [files.changed() for _ in range(2)] == [False, True]


@pytest.mark.parametrize("name", ["credentials", "config"])
def test_without_variables_they_are_where_botocore_looks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    files = AwsFiles({})
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / name).write_text("")
    assert [files.changed() for _ in range(2)] == [False, True]

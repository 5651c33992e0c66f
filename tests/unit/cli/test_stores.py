"""The table's tokens and organisations for commands, without a server; tests/dynamodb/test_check.py has one."""

import pytest

from extproc.aws.sdk.table_reader import MISSING, TableProblemError, TableReader
from extproc.cli.parameters import TemporaryError, UserError
from extproc.cli.stores import read_all, stored
from extproc.config import DirectorySettings, DynamoDbSettings, Settings

SETTINGS = Settings(directory=DirectorySettings(DynamoDbSettings("tenants", "eu-west-1")))


def reading(monkeypatch: pytest.MonkeyPatch, problem: TableProblemError, well: str = "") -> None:
    """Have every table fail in every region but `well`."""

    def get(reader: TableReader, key: str) -> None:
        if reader.region != well:
            raise problem

    monkeypatch.setattr(TableReader, "get", get)


@pytest.mark.parametrize("here", [False, True])
def test_a_table_of_another_region_is_named_with_the_region(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    reading(monkeypatch, TableProblemError("there is none", MISSING), "us-east-1" if here else "")
    with pytest.raises(UserError) as caught:
        read_all(SETTINGS, "us-east-1")
    hint = ". There is one of this name in us-east-1, the gateway's own region"
    assert caught.value.message == f"there is none{hint if here else ''}"


def test_what_may_pass_is_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reading(monkeypatch, TableProblemError("throttled", "ThrottlingException", temporary=True))
    with pytest.raises(TemporaryError) as caught:
        read_all(SETTINGS, "us-east-1")
    assert (caught.value.exit_code, caught.value.message) == (1, "throttled")


def test_items_of_other_kinds_are_passed_over() -> None:
    read = stored(SETTINGS, [("note", "not ours"), ("org#b", "{}"), ("org#a", "{}"), ("used#1", "")], "us-east-1")
    assert (list(read.settings.organisations), read.faults, read.warnings) == (["a", "b"], (), ())
    assert read.settings.directory is None


def test_an_organisation_whose_item_cannot_be_used_is_not_said_to_be_missing() -> None:
    token = '{"name":"ci","sha256":"%s","organisations":["odd"]}' % ("0a" * 32)
    read = stored(SETTINGS, [("org#odd", '{"colour":"red"}'), (f"token#{'0a' * 32}", token)], "us-east-1")
    assert len(read.faults) == 1
    assert read.faults[0].endswith("its callers get a 503")

"""Tool names that Bedrock takes."""

import re

import pytest

from extproc.translate.names import FreeNames, bedrock_name, bedrock_names

TAKEN = re.compile("[a-zA-Z0-9_-]{1,64}")


@pytest.mark.parametrize("name", ["f", "get_weather", "Get-Weather-2", "x" * 64])
def test_a_name_that_bedrock_takes_stays(name: str) -> None:
    assert bedrock_name(name) == name


@pytest.mark.parametrize("name", ["a.b", "files/read", "a b", "x" * 65, "wétter", "f\n", "\ud83d", "."])
def test_any_other_becomes_something_like_it_always_alike(name: str) -> None:
    assert TAKEN.fullmatch(bedrock_name(name))
    assert bedrock_name(name) == bedrock_name(name)
    assert bedrock_name(name) != bedrock_name(name + "x")


def test_valid_characters_of_a_name_stay() -> None:
    assert bedrock_name("mcp.files/read").startswith("mcp_files_read_")


NOVA = "[a-zA-Z0-9_]{1,64}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("weather-api_get-forecast", "weather_api_get_forecast"),
        ("get_weather", "get_weather"),
        ("-", "_"),
        ("x-" * 32, "x_" * 32),
    ],
)
def test_a_hyphen_becomes_an_underscore_where_it_does_not_fit(name: str, expected: str) -> None:
    assert bedrock_name(name, NOVA) == expected
    assert bedrock_name(name) == name


@pytest.mark.parametrize("name", ["a-b.c", "x-" * 33, "wétter-bericht", ""])
def test_any_other_name_gets_its_hash_for_every_pattern(name: str) -> None:
    for pattern in (NOVA, "[a-zA-Z0-9_.-]{1,20}"):
        assert re.fullmatch(pattern, bedrock_name(name, pattern))


@pytest.mark.parametrize("names", [["a-b", "a_b"], ["a_b", "a-b"], ["a-b-c", "a_b-c", "a-b_c"]])
def test_hyphens_and_underscores_stay_different(names: list[str]) -> None:
    mapping = bedrock_names(names, NOVA)
    assert len(set(mapping.values())) == len(names)
    assert mapping.get("a_b", "a_b") == "a_b"
    assert all(re.fullmatch(NOVA, name) for name in mapping.values())


def test_names_that_differ_only_in_replaced_characters_stay_different() -> None:
    names_by_original = bedrock_names(["a.b", "a/b", "a b", "x" * 65, "x" * 66])
    assert len(set(names_by_original.values())) == 5


@pytest.mark.parametrize("turned", [False, True])
def test_a_name_that_fits_is_never_taken_from_its_tool(turned: bool) -> None:
    names = ["a.b", bedrock_name("a.b")]
    names_by_original = bedrock_names(reversed(names) if turned else names)
    assert names_by_original[names[1]] == names[1]
    assert names_by_original["a.b"] != names[1]
    assert TAKEN.fullmatch(names_by_original["a.b"])


@pytest.mark.parametrize(
    ("wanted", "taken", "names_by_original"),
    [
        ("f", [], "f"),
        ("f", ["f"], "f_2"),
        ("f", ["f", "f_2", "f_3"], "f_4"),
        ("x" * 64, ["x" * 64], "x" * 62 + "_2"),
    ],
)
def test_a_free_name_is_the_wanted_one_or_like_it(wanted: str, taken: list[str], names_by_original: str) -> None:
    assert FreeNames(taken).take(wanted) == names_by_original


def test_no_number_is_tried_twice() -> None:
    free = FreeNames(["f", "f_2", "f_3", "g", "g_5"])
    assert [free.take(name) for name in ("f", "g", "h", "h", "f")] == ["f_4", "g_6", "h", "h_7", "f_8"]

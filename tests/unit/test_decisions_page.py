"""docs/decisions.md and the code refer to each other: each entry to its files, and they to it by its number."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "decisions.md").read_text()
ENTRIES = {
    int(number): re.findall(r"\(\.\./([^)]+)\)", entry[entry.rindex("\nCode: ") :])
    for number, entry in re.findall(r"^### D(\d+)\. (.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
REFERENCE = re.compile(r"Decisions?: docs/decisions\.md, ((?:D\d+(?:, )?)+)")


def references() -> dict[str, set[int]]:
    """Return the numbers of the entries that each file of the repository names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    by_file: dict[str, set[int]] = {}
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".yaml", ".yml", ".toml", ""}:
            for match in REFERENCE.findall(path.read_text(errors="replace")):
                by_file.setdefault(name, set()).update(map(int, re.findall(r"D(\d+)", match)))
    return by_file


def test_each_entry_has_a_number_of_its_own() -> None:
    numbers = re.findall(r"^### D(\d+)\. ", PAGE, re.MULTILINE)
    assert (len(numbers), len(ENTRIES)) == (len({*numbers}), len(numbers))
    assert len(re.findall(r"^### ", PAGE, re.MULTILINE)) == len(numbers)


@pytest.mark.parametrize("number", ENTRIES)
def test_an_entry_names_its_costs_and_files_that_are_there(number: int) -> None:
    entry = PAGE.split(f"### D{number}. ")[1].split("\n### ")[0]
    assert "\nCost: " in entry
    assert ENTRIES[number]
    assert all((ROOT / name).is_file() for name in ENTRIES[number])


def test_the_page_and_the_code_refer_to_each_other() -> None:
    from_page = {(name, number) for number, names in ENTRIES.items() for name in names}
    from_code = {(name, number) for name, numbers in references().items() for number in numbers}
    assert from_page == from_code

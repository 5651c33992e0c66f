"""`usage`: a ledger, summed up."""

import contextlib
import csv
import gzip
import json
import re
import shlex
import uuid
from pathlib import Path
from typing import Any

import pytest

from extproc.cli import ledger
from extproc.cli.ledger import LONGEST_LINE, Report, Wanted
from tests.unit.cli.running import CONFIG, ROOT, Cli, is_rejected

NOVA, CLAUDE = "amazon.nova-micro-v1:0", "anthropic.claude-sonnet-4-6"


def line(**changes: Any) -> dict[str, Any]:
    """Return a call as the ledger has it; its cost is 1 cent."""
    made = {
        "id": str(uuid.uuid4()),
        "start": "2026-11-02T10:00:00.000Z",
        "organisation": "acme",
        "token": "ci",
        "model": "an-alias",
        "known_model": NOVA,
        "status": 200,
        "input_tokens": 10,
        "cached_tokens": 4,
        "cache_write_tokens": 1,
        "output_tokens": 5,
        "reasoning_tokens": 2,
        "cost_micro_usd": 10_000,
        "priced": True,
        "estimated": False,
    }
    return {**made, **changes}


def text(*lines: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in lines)


CALLS = (
    line(),
    line(known_model=CLAUDE, cost_micro_usd=1_500_000, estimated=True, token="dev"),
    line(organisation="research", token="ci", start="2026-11-03T00:00:00.000Z", priced=False, cost_micro_usd=0),
    line(known_model="", status=404, input_tokens=0, output_tokens=0, cost_micro_usd=0, priced=False),
)


@pytest.fixture
def usage_jsonl(gateway_yaml: Path) -> Path:
    """Return the ledger of a gateway.yaml, with `CALLS` in it."""
    gateway_yaml.write_text(f"{CONFIG}usage: {{ledger: usage.jsonl}}\n")
    path = gateway_yaml.parent / "usage.jsonl"
    path.write_text(text(*CALLS))
    return path


def rows(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    shown = cli("usage", "--format", "json", *arguments)
    assert shown.exit_code == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)["rows"]
    return found


@pytest.mark.parametrize(
    ("by", "names", "costs"),
    [
        ("model", [(CLAUDE,), (NOVA,), ("",)], [1_500_000, 10_000, 0]),
        ("organisation", [("acme",), ("research",)], [1_510_000, 0]),
        ("token", [("acme", "dev"), ("acme", "ci"), ("research", "ci")], [1_500_000, 10_000, 0]),
        ("day", [("2026-11-02",), ("2026-11-03",)], [1_510_000, 0]),
    ],
)
def test_calls_are_grouped(
    cli: Cli, usage_jsonl: Path, by: str, names: list[tuple[str, ...]], costs: list[int]
) -> None:
    found = rows(cli, "--by", by)
    assert [tuple(row[name] for name in ledger.COLUMNS[by]) for row in found] == names
    assert [row["cost_micro_usd"] for row in found] == costs


def test_a_row_has_all_kinds_of_tokens_and_calls(cli: Cli, usage_jsonl: Path) -> None:
    [acme, _] = rows(cli, "--by", "organisation")
    assert acme == {
        "organisation": "acme",
        "calls": 3,
        "failed_calls": 1,
        "estimated_calls": 1,
        "unpriced_calls": 0,
        "input_tokens": 20,
        "cached_tokens": 12,
        "cache_write_tokens": 3,
        "output_tokens": 10,
        "reasoning_tokens": 6,
        "cost_micro_usd": 1_510_000,
    }


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        (["--organisation", "research"], 1),
        (["--organisation", "nobody"], 0),
        (["--since", "2026-11-03"], 1),
        (["--since", "2026-11-03T00:00:00.001Z"], 0),
        (["--until", "2026-11-03"], 3),
        (["--since", "2026-11-02T12:00:00+02:00", "--until", "2026-11-02T12:00:01+02:00"], 3),
    ],
)
def test_calls_are_chosen(cli: Cli, usage_jsonl: Path, options: list[str], calls: int) -> None:
    shown = cli("usage", "--format", "json", *options)
    assert json.loads(shown.stdout)["total"]["calls"] == calls


def test_days_are_counted_back_from_now(cli: Cli, usage_jsonl: Path) -> None:
    usage_jsonl.write_text(text(line(start="2000-01-01T00:00:00.000Z"), line(start="9999-01-01T00:00:00.000Z")))
    assert sum(row["calls"] for row in rows(cli, "--since", "30d")) == 1
    assert sum(row["calls"] for row in rows(cli, "--until", "12h")) == 1


def test_csv_is_for_other_programs(cli: Cli, usage_jsonl: Path) -> None:
    first, *_ = csv.DictReader(cli("usage", "--format", "csv", "--by", "token").stdout.splitlines())
    assert (first["organisation"], first["token"], first["cost_usd"]) == ("acme", "dev", "1.500000")
    assert first["input_tokens"] == "10"


def test_the_table_has_a_total_and_says_what_is_not_exact(cli: Cli, usage_jsonl: Path) -> None:
    shown = cli("usage").stdout
    assert "(none)" in shown
    total = shown.splitlines()[-1].strip().split(maxsplit=7)
    assert total == ["total", "4", "1", "30", "16", "15", "1.510000", "1 estimated, 1 without a price"]


def test_names_reach_no_terminal_as_they_are(cli: Cli, usage_jsonl: Path) -> None:
    usage_jsonl.write_text(text(line(organisation="a\x1b[2J")))
    assert "\x1b" not in cli("usage", "--by", "organisation").stdout


def test_renamed_files_that_were_not_named_are_reported(cli: Cli, usage_jsonl: Path) -> None:
    older = [usage_jsonl.with_name(f"usage.jsonl.{name}") for name in ("1", "2")]
    for path in older:
        path.write_text(text(line()))
    told = cli("usage", "--config", "gateway.yaml", str(older[0])).stderr
    assert "not read: 1 of the files" in told
    assert "usage.jsonl.*" in told
    assert "not read" not in cli("usage", "--config", "gateway.yaml", *map(str, older)).stderr


def test_renamed_files_count_too_and_each_call_once(cli: Cli, usage_jsonl: Path) -> None:
    packed = usage_jsonl.parent / "usage.jsonl.1.gz"
    packed.write_bytes(gzip.compress(text(CALLS[0], line(), line()).encode()))
    shown = cli("usage", "--format", "json", str(packed), str(usage_jsonl))
    assert json.loads(shown.stdout)["total"]["calls"] == len(CALLS) + 2
    assert shown.stderr == f"{1 + len(CALLS)} lines were of calls that had one already, and count once\n"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (text(line())[:-30], "line 5 is no record"),
        ("{}\n", "line 5 is no record"),
        ("\0\0\n[]\n\udcff\n", "line 5 and 2 more are no records"),
        (f"{'x' * (3 * LONGEST_LINE)}\n", "line 5 is no record"),
        (text(line(input_tokens="many")), "line 5 is no record"),
        ('{"more": ' + "[" * 3000 + "]" * 3000 + "}\n", "line 5 is no record"),
    ],
)
def test_a_line_that_is_no_record_is_left_out_and_reported(
    cli: Cli, usage_jsonl: Path, broken: str, words: str
) -> None:
    usage_jsonl.write_bytes((text(*CALLS) + broken).encode(errors="surrogateescape"))
    shown = cli("usage", "--format", "json")
    assert (shown.exit_code, json.loads(shown.stdout)["total"]["calls"]) == (0, len(CALLS))
    assert words in shown.stderr


def test_a_line_after_a_broken_one_counts(cli: Cli, usage_jsonl: Path) -> None:
    usage_jsonl.write_text("{" * 3 * LONGEST_LINE + "\n" + text(*CALLS))
    assert sum(row["calls"] for row in rows(cli)) == len(CALLS)


def test_a_call_behind_half_a_line_counts(cli: Cli, usage_jsonl: Path) -> None:
    whole = json.dumps({"bedrock_model": NOVA, **line()}, separators=(",", ":"))
    usage_jsonl.write_text(f"{text(*CALLS)}{whole[:50]}{whole}\n")
    shown = cli("usage", "--format", "json")
    assert json.loads(shown.stdout)["total"]["calls"] == len(CALLS) + 1
    assert "line 5 is no record" in shown.stderr


def test_values_that_a_killed_worker_has_not_told_are_nothing(cli: Cli, usage_jsonl: Path) -> None:
    names = ("known_model", "token", "input_tokens", "cost_micro_usd", "priced", "estimated")
    usage_jsonl.write_text(text(line(**dict.fromkeys(names))))
    [row] = rows(cli)
    assert (row["model"], row["input_tokens"], row["cost_micro_usd"]) == ("", 0, 0)


def test_memory_does_not_grow_with_the_number_of_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for few ids in memory the rest is in a file, and sums are the same."""
    monkeypatch.setattr(ledger, "_CACHE_KIB", 16)
    path = tmp_path / "usage.jsonl"
    path.write_text(text(*(line() for _ in range(5_000))))
    with contextlib.closing(Report(Wanted("model"))) as report:
        report.read([path, path])
        [(group, found)] = report.rows()
    assert (group, found.calls, report.repeated) == ((NOVA,), 5_000, 5_000)


@pytest.mark.parametrize("by", ledger.COLUMNS)
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_memory_does_not_grow_with_the_number_of_groups(
    cli: Cli, usage_jsonl: Path, monkeypatch: pytest.MonkeyPatch, by: str, form: str
) -> None:
    """With room for few of them in memory the rest is in a file, and the output is the same."""
    usage_jsonl.write_text(
        text(
            *CALLS,
            *(
                line(token=f"jwt:{n % 7}", known_model=f"m{n % 5}", start=f"2026-11-1{n % 4}", status=n)
                for n in range(99)
            ),
        )
    )
    whole = cli("usage", "--by", by, "--format", form).stdout
    monkeypatch.setattr(ledger, "MOST_IN_MEMORY", 3)
    assert cli("usage", "--by", by, "--format", form).stdout == whole
    with contextlib.closing(Report(Wanted(by))) as report:
        monkeypatch.setattr(report, "_sums", Few())
        report.read([usage_jsonl])


class Few(dict[Any, Any]):
    """A mapping of three."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        assert len(self) <= 3

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]


def test_json_is_what_the_library_makes_of_it(cli: Cli, usage_jsonl: Path) -> None:
    for lines in (CALLS, ()):
        usage_jsonl.write_text(text(*lines))
        shown = cli("usage", "--format", "json").stdout
        assert shown == json.dumps(json.loads(shown), indent=2) + "\n"


def test_a_number_that_no_call_has_is_no_record(cli: Cli, usage_jsonl: Path) -> None:
    usage_jsonl.write_text(text(line(), line(input_tokens=2**63)))
    assert [row["calls"] for row in rows(cli)] == [1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--since", "yesterday"], "'yesterday' is not a time: write 30d, 12h, 2026-11-01"),
        (["--until", "2026-13-01"], "is not a time"),
        (["--since", "2026-11-03", "--until", "2026-11-02"], "is not before --until"),
        (["--by", "colour"], "--by"),
        (["nowhere.jsonl"], "nowhere.jsonl: No such file"),
    ],
)
def test_what_cannot_be_read_is_named(cli: Cli, usage_jsonl: Path, options: list[str], words: str) -> None:
    assert is_rejected(cli("usage", *options), words)


def test_half_a_packed_file_is_an_error(cli: Cli, usage_jsonl: Path) -> None:
    packed = usage_jsonl.parent / "usage.jsonl.1.gz"
    packed.write_bytes(gzip.compress(text(*CALLS).encode())[:-20])
    assert is_rejected(cli("usage", str(packed)), f"{packed}: is broken")
    packed.write_bytes(b"no gzip")
    assert is_rejected(cli("usage", str(packed)), f"{packed}: Not a gzipped file")


@pytest.mark.parametrize("most", [1, ledger.MOST_IN_MEMORY])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_sums_that_no_calls_have_are_an_error(
    cli: Cli, usage_jsonl: Path, monkeypatch: pytest.MonkeyPatch, most: int, form: str
) -> None:
    """At once and little by little: 1,025 lines of the largest number."""
    monkeypatch.setattr(ledger, "MOST_IN_MEMORY", most)
    lines = [line(cost_micro_usd=2**53, known_model=(NOVA, CLAUDE)[number % 2]) for number in range(2052)]
    usage_jsonl.write_text(text(*lines))
    assert is_rejected(cli("usage", "--format", form), "is larger than 9,223,372,036,854,775,807")


def test_without_a_ledger_the_key_is_named(cli: Cli, gateway_yaml: Path) -> None:
    assert is_rejected(cli("usage"), "there is no ledger; name a file in `usage.ledger`")


def commands() -> list[str]:
    """Return the commands of the page."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "usage.md").read_text(), re.DOTALL | re.MULTILINE)
    found = [command for block in blocks for command in block.splitlines()]
    return [command for command in found if command.startswith("oai-extproc usage ")]


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_page_run(cli: Cli, usage_jsonl: Path, command: str) -> None:
    renamed = usage_jsonl.with_name("usage.jsonl.1")
    if ".*" in command:
        renamed.write_text(text(line()))
    program, *arguments = shlex.split(command.replace("/var/lib/oai/usage.jsonl.*", str(renamed)))
    assert program == "oai-extproc"
    shown = cli(*arguments)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "calls" in shown.stdout.splitlines()[0]

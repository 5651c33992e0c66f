"""Usage on `/metrics`: a real Prometheus scrapes it, and has the document's queries answered by what calls took."""

import json
import os
import re
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import APIStatusError, OpenAI

from tests.envoy.gateway.prometheus import Prometheus, program
from tests.envoy.gateway.test_http2 import CHAT, Http2, question
from tests.scrapes import scrape

DOC = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
QUERIES = re.findall(r"^(\S[^\n]*):\n\n```promql\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)

NOVA = "amazon.nova-micro-v1:0"
LITE = "amazon.nova-lite-v1:0"
MADE_UP = ("amazon.nova-made-up-1-v1:0", "amazon.nova-made-up-2-v1:0")
UNPRICED = "envoy_oai_unpriced_calls_total"
WARNED = "envoy_oai_budget_warned_calls_total"
STORE_AWAY = "envoy_oai_store_away_calls_total"
OF_TROUBLE = {UNPRICED, WARNED, STORE_AWAY}
"""Those that a day without trouble has not."""
COMMAND = "cohere.command-r-v1:0"
"""A model without a price."""
QUESTION: Any = [{"role": "user", "content": "Hello! " * 40}]
HELD: Any = [{"role": "user", "content": "Count to 500. [[local: hold]]"}]
CACHED: Any = [{"role": "user", "content": "Hello! [[local: cacheread=100 cachewrite=20]]"}]
THROTTLED: Any = [{"role": "user", "content": "[[local: status=429]] x"}]

PRICES = {NOVA: {"input": 1000, "output": 2000}, LITE: {"input": 3000, "output": 4000}}

ENDS = ("organisation", "model", "status", "finish", "estimated")


def query(beginning: str) -> str:
    """The one query of the document under a sentence that begins so."""
    [found] = [code for sentence, code in QUERIES if sentence.startswith(beginning)]
    return str(found)


@pytest.fixture(scope="module")
def gateway(start_shared: Any) -> Any:
    """A gateway with prices of its own, and `/metrics`."""
    return start_shared({"prices": PRICES}, args=["--access-log", "--health", "127.0.0.1:0"])


def metrics_of(gateway: Any) -> str:
    """Return HOST:PORT of `/metrics`."""
    return str(gateway.wait_for(r"health +http://(\S+)/healthz, and /metrics")[1])


def scraped(gateway: Any) -> str:
    return scrape(metrics_of(gateway))


def ask(gateway: Any, model: str, messages: Any = QUESTION, token: str = "ci", **options: Any) -> Any:
    """Call a model, without retries."""
    organisation = "umbrella" if token == "both" else "acme"
    key = gateway.tokens.get(token, token)
    client = OpenAI(base_url=gateway.url, api_key=key, organization=organisation, max_retries=0)
    return client.chat.completions.create(model=model, messages=messages, **options)


def begin(gateway: Any) -> Any:
    """Return a stream of which some text has arrived, and the rest is held back."""
    stream = ask(gateway, NOVA, HELD, stream=True)
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    return stream


def lines(gateway: Any, count: int) -> list[dict[str, Any]]:
    """Return the access log, once it has so many lines: the fields of `oai`, with the status and the flags."""
    gateway.wait_for(rf'(?s)(?:"id":.*){{{count}}}')
    entries = [json.loads(line[line.index("{") :]) for line in gateway.log().splitlines() if '"id":' in line]
    assert len(entries) == count
    return [{**entry["oai"], "status": str(entry["status"]), "flags": entry["flags"]} for entry in entries]


@dataclass(frozen=True)
class Day:
    """Calls that have ended in every way, and a Prometheus that knows of them.

    `log` is their access log. `rate` has what changed since a series was first scraped, and `late` are the calls since.
    """

    gateway: Any
    prometheus: Prometheus
    log: list[dict[str, Any]]
    late: list[dict[str, Any]]
    billed: Counter[str]
    """Tokens of the late calls of `NOVA` that ended, as Bedrock has counted them."""

    def of(self, beginning: str, label: str) -> dict[str, float]:
        """Return the result of one query of the document, by the value of its label."""
        return {labels.get(label, ""): value for labels, value in self.prometheus.query(query(beginning))}


@pytest.fixture(scope="module")
def day(gateway: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with closing(Prometheus(tmp_path_factory.mktemp("prometheus"), metrics_of(gateway))) as prometheus:
        ask(gateway, NOVA)
        list(ask(gateway, NOVA, stream=True))
        has_calls(prometheus, 2, streams=1)
        billed = end_well(gateway)
        end_otherwise(gateway)
        has_calls(prometheus, 12, streams=4)
        log = lines(gateway, 12)
        yield Day(gateway, prometheus, log, log[2:], billed)


def has_calls(prometheus: Prometheus, count: int, streams: int) -> None:
    """Wait until Prometheus has so many calls, and so many streams whose first token was timed."""
    for name, wanted in (("calls_total", count), ("time_to_first_token_milliseconds_count", streams)):
        prometheus.wait_for(f"sum(envoy_oai_{name})", lambda result, n=wanted: [value for _, value in result] == [n])


def end_well(gateway: Any) -> Counter[str]:
    """Make four calls, and return the tokens of NOVA's."""
    ask(gateway, LITE, CACHED)
    stream = [*ask(gateway, NOVA, stream=True, stream_options={"include_usage": True})]
    usages = [ask(gateway, NOVA).usage, ask(gateway, NOVA, token="both").usage, stream[-1].usage]
    return Counter(
        input=sum(usage.prompt_tokens for usage in usages), output=sum(usage.completion_tokens for usage in usages)
    )


def end_otherwise(gateway: Any) -> None:
    """Make six calls: throttled, of made-up models, of nobody, left by its client, lost with its worker."""
    for model in (NOVA, *MADE_UP):
        with pytest.raises(APIStatusError):
            ask(gateway, model, THROTTLED)
    with pytest.raises(APIStatusError):
        ask(gateway, NOVA, token="qc_unknown")
    begin(gateway).close()
    gateway.expect_restarts()
    stream, since = begin(gateway), len(gateway.log())
    os.kill(gateway.pids("extproc.worker.command")[0], signal.SIGKILL)
    with pytest.raises(Exception, match=r"\w"):
        list(stream)
    gateway.wait_for("serving on", since)


def as_label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_call_is_counted_once_and_the_callers_words_name_no_series(day: Day) -> None:
    samples = day.prometheus.query("envoy_oai_calls_total")
    counted = {tuple(labels.get(name, "") for name in ENDS): value for labels, value in samples}
    fields = ["known_model" if name == "model" else name for name in ENDS]
    assert counted == Counter(tuple(as_label(line[name]) for name in fields) for line in day.log)
    text = scraped(day.gateway)
    assert [name for name in MADE_UP if name in text] == []
    assert counted[("acme", "", "404", "model_not_found", "false")] == 2
    assert counted[("", "", "401", "invalid_api_key", "false")] == 1
    assert counted[("acme", NOVA, "200", "", "true")] == 2


def test_what_organisations_spent(day: Day) -> None:
    spent: defaultdict[str, float] = defaultdict(float)
    for line in day.log:
        if line["input_tokens"]:
            each = PRICES[line["known_model"]]
            written = line["cache_write_tokens"] * each["input"] / 4  # what is written to a cache costs a quarter more
            usual = line["input_tokens"] * each["input"] + line["output_tokens"] * each["output"]
            spent[line["organisation"]] += usual + written
    dollars = {name: pytest.approx(micro_usd / 1e6, rel=1e-9) for name, micro_usd in spent.items()}
    assert set(dollars) == {"acme", "umbrella"}
    assert day.of("What organisations spent", "organisation") == dollars


def test_tokens_are_those_that_bedrock_has_counted(day: Day) -> None:
    """Estimates are added, of calls that had no end."""
    estimates = [line for line in day.late if line["estimated"]]
    assert len(estimates) == 2
    first = day.log[:2]
    for kind in ("input", "output"):
        ended = day.billed[kind] + sum(line[f"{kind}_tokens"] for line in first)
        lost = sum(line[f"{kind}_tokens"] for line in estimates)
        selected = f'sum(envoy_oai_tokens_total{{kind="{kind}", model="{NOVA}"}})'
        assert [value for _, value in day.prometheus.query(selected)] == [ended + lost]
    details = day.prometheus.query("envoy_oai_token_details_total")
    assert {labels["kind"]: value for labels, value in details} == {"cached": 100, "cache_write": 20}


def test_tokens_a_minute(day: Day) -> None:
    """`rate` guesses what was before and after its samples, so the result is a little more."""
    late = sum(line["input_tokens"] + line["output_tokens"] for line in day.late if line["known_model"] == NOVA)
    # The organisation that comes late has only values that `rate` does not see change.
    late -= sum(line["input_tokens"] + line["output_tokens"] for line in day.late if line["organisation"] == "umbrella")
    assert late <= 5 * day.of("Tokens a minute", "model")[NOVA] <= 2 * late


def test_the_share_of_429s(day: Day) -> None:
    assert day.of("The share of calls", "") == {"": pytest.approx(1 / 12)}


def test_calls_whose_client_left(day: Day) -> None:
    assert [line["flags"] for line in day.log].count("DC") == 1
    assert day.of("Calls whose client left", "organisation") == {"acme": 1}


def test_the_time_to_the_first_token(day: Day) -> None:
    """The 95th percentile of three is in the bucket of the slowest, in which Prometheus interpolates."""
    slowest = max(line["time_to_first_token_ms"] for line in day.late)
    found = re.findall(r'time_to_first_token_milliseconds_bucket\{.*le="(\d+)"', scraped(day.gateway))
    bounds = [0, *sorted(map(int, found))]
    above = next(index for index, bound in enumerate(bounds) if bound >= slowest)
    [(model, seconds)] = day.of("In what time 95 %", "model").items()
    assert model == NOVA
    assert bounds[above - 1] <= 1000 * seconds <= bounds[above]


def test_the_table_of_the_document_names_what_there_is(day: Day) -> None:
    rows = re.findall(r"^\| `(envoy_oai_\w+)` \| (.*?) \|", DOC, re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    there: dict[str, set[str]] = {}
    for name, labels in re.findall(
        r"^(envoy_oai_\w+?)(?:_bucket|_count|_sum)?\{(.*)\}", scraped(day.gateway), re.MULTILINE
    ):
        there.setdefault(name, set()).update(set(re.findall(r'(\w+)="', labels)) - {"le"})
    assert there == {name: labels for name, labels in documented.items() if name not in OF_TROUBLE}
    assert documented.keys() > OF_TROUBLE


SPENDING = "envoy_oai_cost_micro_usd_total"
CUTS = "envoy_oai_cut_calls_total"


@pytest.mark.parametrize(
    ("values", "spent", "cut"),
    [
        ("5000000x48", 0, 0),
        ("1000000x24 1000000+1000000x23", 23, 23e6),
        ("_x40 3000000x7", 3, 3e6),
        ("_x30 3000000x7 stale", 3, 3e6),
        ("3000000x10 stale", None, None),
        ("9000000x30 0 2000000x16", 2, 2e6),
    ],
    ids=["idle", "grows", "begins", "begins and ends", "was before", "an Envoy restarts"],
)
def test_the_queries_of_a_day(tmp_path: Path, values: str, spent: int | None, cut: float | None) -> None:
    """Prometheus' own tester computes them 48 hours after the first of hourly values."""
    queries = {SPENDING: ("What organisations spent", spent), CUTS: ("Calls whose client left", cut)}
    queries[WARNED] = ("Calls under a budget", cut)
    tests = [
        {"expr": query(sentence), "eval_time": "48h", "exp_samples": [] if wanted is None else [_acme(wanted)]}
        for sentence, wanted in queries.values()
    ]
    series = [{"series": f'{name}{{organisation="acme"}}', "values": values} for name in queries]
    written = {"tests": [{"interval": "1h", "input_series": series, "promql_expr_test": tests}]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(written))
    command = [program("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _acme(value: float) -> dict[str, object]:
    return {"labels": '{organisation="acme"}', "value": value}


@pytest.fixture
def small(start_gateway: Any) -> Any:
    """A gateway with room for one series of each metric."""
    return start_gateway({"metrics": {"series": 1}}, args=["--access-log", "--health", "127.0.0.1:0"])


def test_no_more_series_than_are_configured(small: Any) -> None:
    """A model without a price has a metric of its own."""
    for token in ("ci", "both"):
        ask(small, COMMAND, token=token)
    lines(small, 2)
    text = scraped(small)
    [series] = re.findall(rf"^{UNPRICED}\{{(.*)\}} 1$", text, re.MULTILINE)
    assert 'organisation="acme"' in series
    [dropped] = re.findall(r"^envoy_server_stats_overflow_counter\{\} (\d+)$", text, re.MULTILINE)
    assert int(dropped) >= 4


def test_a_stream_that_its_client_resets_is_cut(small: Any) -> None:
    """Over HTTP/2 its connection stays."""
    host, _, port = small.origin.removeprefix("http://").rpartition(":")
    with closing(Http2(host, int(port), small.tokens["ci"])) as connection:
        stream = connection.request("POST", CHAT, question("Count to 9. [[local: hold]]", stream=True))
        connection.until_content(stream)
        connection.cancel(stream)
        [line] = lines(small, 1)
    assert line["flags"] == "DR"
    assert re.search(r"^envoy_oai_cut_calls_total\{.*\} 1$", scraped(small), re.MULTILINE)

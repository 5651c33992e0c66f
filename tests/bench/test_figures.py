"""Statistics, ratios, targets and what the report makes of them."""

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bench import __main__ as bench
from bench import bootstraps, noop, processes, profiling, report, workloads
from bench.calls import Api, call, supported
from bench.measuring import Cold, Sample, Times
from bench.processes import Memory
from bench.results import Results, read, service, whole, write
from bench.spread import Spread, differences, ratios, spread
from bench.targets import judge, linearity
from bench.workloads import WORKLOADS, Workload
from extproc.openai.chat import decode_request
from extproc.transport import ext_proc_pb2 as pb

NO_TIMES = Times(0, 0, 0, 0)


def sample(stack: str, workload: str, number: int = 1, **more: Any) -> Sample:
    settings: dict[str, Any] = {
        "seconds": 1.0,
        "answered": 100,
        "frames": 0,
        "cpu_us": {"service": 10_000.0, "envoy": 20_000.0, "upstream": 5e5, "load": 5e5},
        "memory": {"service": Memory(50, 40, 60)},
        "latency": Times(100, 1, 2, 3),
        "first": NO_TIMES,
        "stall": NO_TIMES,
        "errors": {"status": 0, "broken": 0},
    }
    return Sample(stack=stack, workload=workload, round=number, **(settings | more))


def results(*samples: Sample, cold: list[Cold] | None = None) -> Results:
    stacks = list(dict.fromkeys(each.stack for each in samples))
    names = list(dict.fromkeys(each.workload for each in samples))
    return Results({"CPU": "a fast one"}, 2, stacks, names, list(samples), cold or [])


def test_a_spread() -> None:
    assert spread([4, 1, 3, 2, 5]) == Spread(5, 1, 2, 3, 4, 5)
    assert spread([7]) == Spread(1, 7, 7, 7, 7, 7)
    assert spread([]) is None


def test_ratios_are_made_within_a_round() -> None:
    assert ratios({1: 10, 2: 30, 3: 5}, {1: 5, 2: 10, 4: 1}) == {1: 2, 2: 3}
    assert ratios({1: 10}, {1: 0}) == {}
    assert differences({1: 10, 2: 30}, {2: 10, 3: 1}) == {2: 20}


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    """A round in which the machine was slow leaves the ratio as it is."""
    fast = {"service": 10_000.0, "envoy": 20_000.0}
    slow = {"service": 40_000.0, "envoy": 80_000.0}
    measured = results(
        *(sample("http2", "chat-32", number, cpu_us=cpu) for number, cpu in ((1, fast), (2, slow))),
        *(sample("bare", "chat-32", number, cpu_us={"envoy": cpu["envoy"]}) for number, cpu in ((1, fast), (2, slow))),
    )
    assert measured.ratio("http2", "bare", "chat-32", whole) == {1: 1.5, 2: 1.5}


def test_cpu_time_is_of_the_stack_and_per_unit() -> None:
    one = sample("http2", "chat-32")
    assert (one.cpu(), one.cpu("service"), one.cpu("envoy")) == (300, 100, 200)
    assert sample("http2", "paced-20", frames=1000).cpu("service") == 10
    assert sample("bare", "chat-32", cpu_us={"envoy": 100.0}).cpu("service") is None
    assert sample("http2", "chat-32", answered=0).cpu() is None


def test_a_target_is_judged_by_the_default_transport() -> None:
    good = {"service": 15_000.0, "envoy": 20_000.0}
    verdicts = judge(results(sample("grpcio", "chat-32"), sample("http2", "chat-32", cpu_us=good)))
    assert verdicts[0].measured == Spread(1, 0.15, 0.15, 0.15, 0.15, 0.15)
    assert verdicts[0].met is True
    assert verdicts[1].measured is not None
    assert verdicts[1].measured.median == 1.5
    assert verdicts[1].met is False


def test_a_target_without_a_measurement_is_not_met() -> None:
    verdicts = judge(results(sample("http2", "models")))
    assert {verdict.met for verdict in verdicts} == {None}


def test_a_target_with_errors_is_missed() -> None:
    errors = {"status": 1, "broken": 0}
    [verdict, *_] = judge(results(sample("http2", "chat-32", errors=errors)))
    assert verdict.measured is not None
    assert verdict.measured.median <= verdict.target.limit
    assert verdict.met is False
    assert verdict.failed == 1


@pytest.mark.parametrize(("large", "expected"), [(10_050.0, 1.0), (20_050.0, 2.0)])
def test_linearity(large: float, expected: float) -> None:
    """A fixed 50 µs a request does not make the cost of bytes any less linear."""
    costs = {"body-100KB": 150.0, "body-1MB": 1_050.0, "body-10MB": large}
    runs = [sample("http2", name, answered=1, cpu_us={"service": cost}) for name, cost in costs.items()]
    measured = linearity(results(*runs), "http2")[1]
    assert measured == pytest.approx(expected, rel=0.12)


def test_the_report_shows_errors_first() -> None:
    errors = {"status": 0, "broken": 3}
    bad = sample("http2", "chat-32", errors=errors, complaint="broken, 200: half")
    text = report.markdown(results(sample("bare", "chat-32"), bad))
    assert text.index("Some responses were bad") < text.index("## Targets")
    assert "3 broken (`broken, 200: half`)" in text
    assert "No response was wrong" not in text
    assert "**3**" in text


def test_the_report_of_a_good_run() -> None:
    cold = Cold("http2", 1, 0.4, 50, 40, {"service": 1.5, "envoy": 3}, {"service": 1.9, "envoy": 3}, 0)
    frames = sample("http2", "paced-200", frames=1000, first=Times(5, 1, 2, 3), stall=Times(5, 20, 25, 30))
    text = report.markdown(
        results(sample("bare", "chat-32"), sample("http2", "chat-32"), frames, cold=[cold]), ["a.svg"]
    )
    assert "No response was wrong, incomplete or missing." in text
    assert "| copies of a 10 MB body held | 2.00  | **1.50** | met |" in text
    assert "![a](a.svg)" in text
    assert "100,000" in text  # 10 µs a frame: so many on one core


def test_a_report_without_the_gateway_has_no_targets() -> None:
    text = report.markdown(results(sample("bare", "chat-32")))
    assert "Targets" not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (bench.main, ["--stack", "litellm"], "--litellm"),
        (bench.main, ["--stack", "nobody"], "no stack nobody"),
        (bench.main, ["--workload", "nothing"], "no workload nothing"),
        (bench.main, ["--workload", "chat-1", "--smoke"], "--smoke has workloads of its own"),
        (profiling.main, ["--workload", "nothing"], "'nothing' is not one of"),
    ],
)
def test_an_option_that_cannot_be_used_is_reported(command: click.Command, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_results_survive_their_file(tmp_path: Any) -> None:
    measured = results(sample("bare", "chat-32"), sample("http2", "chat-32"))
    write(measured, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == measured
    assert measured.by_round("http2", "chat-32", service) == {1: 100}


@pytest.mark.parametrize(
    ("value", "text"), [(0.0167, "0.0167"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1,234"), (-150.0, "-150")]
)
def test_numbers(value: float, text: str) -> None:
    assert report.number(value) == text


# Requests


APIS: tuple[Api, ...] = ("openai", "bedrock")
REQUESTS = [
    pytest.param(each, api, id=f"{each.name}-{api}") for each in WORKLOADS for api in APIS if supported(each, api)
]


@pytest.mark.parametrize(("workload", "api"), REQUESTS)
def test_requests_have_their_nominal_length(workload: Workload, api: Api) -> None:
    made = call(workload, api)
    if workload.operation in ("chat", "stream"):
        assert abs(len(made.body) - workload.body_bytes) <= 4
        json.loads(made.body)
    wire = made.wire(80, "token")
    assert wire.endswith(b"\r\n\r\n" + made.body)


def test_requests_are_requests() -> None:
    workload = Workload("stream", "stream", 1, frames=20, every=10, body_bytes=200_000)
    request = decode_request(call(workload, "openai").body)
    assert request.stream
    text = json.loads(call(workload, "bedrock").body)["messages"][0]["content"][0]["text"]
    assert text.startswith("frames=20 every=10 ")


def test_workloads_by_name() -> None:
    assert workloads.named(()) == WORKLOADS
    assert [each.name for each in workloads.named(("models", "chat-1"))] == ["models", "chat-1"]
    with pytest.raises(ValueError, match="no workload chat-3; there are chat-1"):
        workloads.named(("chat-3",))
    assert all(each.window <= 300 for each in workloads.smoke())


# The floor


@pytest.mark.parametrize(
    ("fields", "member"),
    [
        ({"request_headers": pb.HttpHeaders(end_of_stream=True)}, "request_headers"),
        ({"request_body": pb.HttpBody(body=b"x" * 1000)}, "request_body"),
        ({"response_headers": pb.HttpHeaders()}, "response_headers"),
        ({"response_trailers": pb.HttpTrailers()}, "response_trailers"),
    ],
)
def test_the_noop_continues(fields: dict[str, Any], member: str) -> None:
    response = pb.ProcessingResponse.FromString(noop.reply(pb.ProcessingRequest(**fields).SerializeToString()))
    assert response.WhichOneof("response") == member
    assert not response.ByteSize() > 2


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
@pytest.mark.parametrize("end", [False, True])
def test_the_noop_returns_bodies(size: int, end: bool) -> None:
    request = pb.ProcessingRequest(response_body=pb.HttpBody(body=b"b" * size, end_of_stream=end))
    request.attributes["envoy.filters.http.ext_proc"].update({"response.code_details": "via_upstream"})
    response = pb.ProcessingResponse.FromString(noop.reply(request.SerializeToString()))
    streamed = response.response_body.response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (b"b" * size, end)


def bootstrap() -> dict[str, Any]:
    routes = [
        {"name": name, "match": {"path": name}, "route": {"cluster": "unprocessed"}, "typed_per_filter_config": {}}
        for name in ("health", "api", "rest")
    ]
    manager = {
        "route_config": {"virtual_hosts": [{"routes": routes}]},
        "http_filters": [{"name": name} for name in (bootstraps.HEALTH, bootstraps.EXT_PROC, "router")],
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/replaced"}}}}]}
    processor = {"name": "processor", "health_checks": [{}], "load_assignment": {"endpoints": [endpoint]}}
    listener = {"filter_chains": [{"filters": [{"typed_config": manager}]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [processor, {"name": "bedrock"}]}}


def test_bare_envoy_is_the_gateway_s_without_the_processor() -> None:
    gateway = bootstrap()
    made = bootstraps.without_processor(gateway)
    resources = made["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["http_filters"] == [{"name": "router"}]
    assert manager["route_config"]["virtual_hosts"][0]["routes"] == [
        {"name": "api", "match": {"prefix": "/"}, "route": {"cluster": "bedrock"}}
    ]
    assert resources["clusters"] == [{"name": "bedrock"}]
    assert gateway == bootstrap()


def test_the_floor_keeps_the_filter() -> None:
    made = bootstraps.with_noop(bootstraps.at(bootstrap(), "/the.sock"))
    resources = made["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["http_filters"] == [{"name": bootstraps.EXT_PROC}, {"name": "router"}]
    assert "health_checks" not in resources["clusters"][0]
    assert "/the.sock" in json.dumps(resources)


# Profiles


def test_a_profile_counts_what_the_event_loop_does() -> None:
    loop = "main (x.py:1);Runner.run (asyncio/runners.py:118)"
    lines = [f"{loop};a (a.py:1);b (b.py:7) 6", f"{loop};a (a.py:2) 2", f"{loop} 2", "thread (t.py:1);wait (t.py:2) 90"]
    own, _, below = profiling.summary(lines).partition("with callees")
    assert [line.split() for line in own.splitlines()[2:4]] == [
        ["60.0", "%", "b", "(b.py)"],
        ["20.0", "%", "a", "(a.py)"],
    ]
    assert "80.0 %  a (a.py)" in below
    assert "wait" not in below


# Processes


def test_cpu_time_and_memory_of_this_process() -> None:
    import os

    pids = [os.getpid()]
    before = processes.cpu_ns(pids)
    sum(range(10**6))
    assert processes.cpu_ns(pids) > before
    usage = processes.memory(pids)
    assert 0 < usage.pss <= usage.rss <= usage.peak


def test_a_process_that_has_ended_has_no_clock() -> None:
    with pytest.raises(OSError, match="nvalid"):
        processes.cpu_ns([2**22 + 1])

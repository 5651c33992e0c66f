"""A stream without a transport: events, directives and their order, jobs, idle streams, and errors."""

import pytest

from extproc.exchange.directives import Abort, Body, Continue, Forward, Head, Reply, Wait
from extproc.exchange.events import (
    Idle,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    Resumed,
)
from extproc.transport.stream import LEEWAY, AbandonedError, Clock, ExtProcStream, TimedJob
from extproc.transport.wire import WireError
from tests.unit.transport.served import Job

FORWARD = Forward("/model/m/converse", "bedrock.local", (), b"{}")
REPLY = Reply(200, (), b"done", "x")
LONGEST = 100.0


class SteadyClock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.steady = 1000.0

    def clock(self):
        return Clock(wall=lambda: 1_800_000_000.0, steady=lambda: self.steady)


@pytest.fixture
def now():
    return SteadyClock()


@pytest.fixture
def stream_of(now, scripted):
    def build(script, timeout=None):
        exchange = scripted(script, timeout)
        return ExtProcStream(exchange, now.clock(), LONGEST), exchange

    return build


def waiting(stream, envoy):
    """Bring a stream whose exchange waits after the body to that point."""
    stream.receive(envoy.request_headers())
    return stream.receive(envoy.request_body())


def test_events_go_in_with_unix_time_and_responses_come_out(stream_of, envoy):
    stream, exchange = stream_of({RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]]})
    assert [envoy.read(m)["kind"] for m in stream.receive(envoy.request_headers())] == ["request_headers"]
    assert [envoy.read(m)["kind"] for m in stream.receive(envoy.request_body(b"[]"))] == ["request_body"]
    assert exchange.events[1] == RequestBody(b"[]")
    assert exchange.times == [1_800_000_000.0] * 2


def test_the_request_id_is_remembered(stream_of, envoy):
    stream, _ = stream_of({RequestHeaders: [[Continue()]]})
    stream.receive(envoy.request_headers((":path", "/"), ("x-request-id", "abc")))
    assert stream.request_id == "abc"


def test_an_abort_is_an_error(stream_of, envoy):
    stream, _ = stream_of({RequestHeaders: [[Abort("no more")]]})
    with pytest.raises(AbandonedError, match="no more"):
        stream.receive(envoy.request_headers())


def test_an_error_behind_a_responses_end_does_not_remove_the_end(stream_of, envoy):
    """A regression from `make fuzz`: of messages in one read, the response lost its end."""
    script = {RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]], ResponseHeaders: [[Head(200, ())]]}
    stream, _ = stream_of({**script, ResponseBody: [[Body(b"all", True)]]})
    messages = [envoy.request_headers(), envoy.request_body(), envoy.response_headers(), envoy.response_body(b"x")]
    sent, error = stream.receive_all([*messages, envoy.request_headers()])
    assert isinstance(error, WireError)
    last = envoy.read(sent[-1])
    assert (last["piece"], last["end_of_stream"]) == (b"all", True)


def test_an_exchange_that_leaves_envoy_waiting_is_an_error(stream_of, envoy):
    stream, _ = stream_of({RequestHeaders: [[]]})
    with pytest.raises(RuntimeError, match="left Envoy waiting after RequestHeaders"):
        stream.receive(envoy.request_headers())


def test_an_exchange_that_does_not_end_with_the_response_is_an_error(stream_of, envoy):
    stream, _ = stream_of({RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]]})
    waiting(stream, envoy)
    stream.receive(envoy.response_headers())
    with pytest.raises(RuntimeError, match="left Envoy waiting after ResponseBody"):
        stream.receive(envoy.response_body(b"", end_of_stream=True))


def test_after_the_last_directive_the_exchange_gets_no_event(stream_of, envoy):
    stream, exchange = stream_of(
        {
            RequestHeaders: [[Continue()]],
            RequestBody: [[FORWARD]],
            ResponseBody: [[Head(200, ()), Body(b"early", end_of_stream=True)]],
        }
    )
    waiting(stream, envoy)
    stream.receive(envoy.response_headers())
    stream.receive(envoy.response_body(b"first"))
    assert stream.over
    assert stream.receive(envoy.response_body(b"late")) == []
    assert [event for event in exchange.events if isinstance(event, ResponseBody)] == [ResponseBody(b"first")]


WAITS = {RequestHeaders: [[Continue()]], RequestBody: [[Wait(Job(), 30)]], Resumed: [[REPLY]]}


class TestJobsOfStreams:
    def test_a_wait_names_a_job_and_requests_the_longest_time_from_envoy(self, stream_of, envoy):
        stream, _ = stream_of(WAITS)
        assert [envoy.read(message) for message in waiting(stream, envoy)] == [{"kind": None, "more_time": LONGEST}]
        assert stream.pending_job == TimedJob(Job(), 30)

    def test_the_result_resumes_the_exchange(self, stream_of, envoy):
        stream, exchange = stream_of(WAITS)
        waiting(stream, envoy)
        (response,) = stream.resume("result")
        assert envoy.read(response)["kind"] == "immediate_response"
        assert exchange.events[-1] == Resumed("result")
        assert stream.pending_job is None

    def test_jobs_share_envoys_timeout(self, stream_of, now, envoy):
        stream, _ = stream_of({**WAITS, Resumed: [[Wait(Job("second"), 60)], [REPLY]]})
        waiting(stream, envoy)
        now.steady += 50
        assert stream.resume("first") == []
        assert stream.pending_job == TimedJob(Job("second"), LONGEST - LEEWAY - 50)

    def test_a_job_that_comes_too_late_has_no_time_at_all(self, stream_of, now, envoy):
        stream, _ = stream_of({**WAITS, Resumed: [[Wait(Job("second"), 60)], [REPLY]]})
        waiting(stream, envoy)
        now.steady += 200
        stream.resume("first")
        assert stream.pending_job == TimedJob(Job("second"), 0)

    def test_a_response_by_envoy_itself_removes_the_job(self, stream_of, envoy):
        stream, exchange = stream_of({**WAITS, ResponseHeaders: [[REPLY]]})
        waiting(stream, envoy)
        responses = stream.receive(envoy.response_headers(504, details="stream_idle_timeout"))
        assert stream.pending_job is None
        assert len(responses) == 1
        assert exchange.events[-1].details == "stream_idle_timeout"

    def test_trailers_behind_a_body_that_was_the_end_are_an_error(self, stream_of, envoy):
        stream, _ = stream_of(WAITS)
        waiting(stream, envoy)
        with pytest.raises(WireError, match="PREPARING"):
            stream.receive(envoy.request_trailers())

    def test_a_wait_where_nothing_is_due_is_an_error(self, stream_of, envoy):
        stream, _ = stream_of({**WAITS, RequestBody: [[FORWARD]], ResponseHeaders: [[Wait(Job(), 1)]]})
        waiting(stream, envoy)
        with pytest.raises(WireError, match="WITHHELD"):
            stream.receive(envoy.response_headers())


LISTENS = {RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]], Idle: [[]]}


class TestIdleStreams:
    def test_idle_is_reported_when_it_is_due_and_not_only_periodically(self, stream_of, now, envoy):
        stream, exchange = stream_of(LISTENS, timeout=10)
        exchange.idle_timeout = lambda written: min(written + 10, 14)
        waiting(stream, envoy)
        for passed in (10, 4):
            now.steady += passed
            stream.tick()
        assert exchange.events[-2:] == [Idle(10), Idle(14)]

    def test_idle_is_reported_after_each_timeout_with_the_total_seconds(self, stream_of, now, envoy):
        stream, exchange = stream_of(LISTENS, timeout=10)
        waiting(stream, envoy)
        for passed, is_idle in ((9, False), (1, True)):
            now.steady += passed
            assert stream.is_idle is is_idle
        stream.tick()
        assert not stream.is_idle
        now.steady += 10
        stream.tick()
        assert exchange.events[-2:] == [Idle(10), Idle(20)]

    def test_an_event_resets_the_idle_timer(self, stream_of, now, envoy):
        stream, exchange = stream_of({**LISTENS, ResponseHeaders: [[Head(200, ())]]}, timeout=10)
        waiting(stream, envoy)
        now.steady += 9
        stream.receive(envoy.response_headers())
        now.steady += 9
        assert not stream.is_idle
        now.steady += 1
        stream.tick()
        assert exchange.events[-1] == Idle(10)

    def test_a_keep_alive_goes_out(self, stream_of, now, envoy):
        script = {**LISTENS, ResponseHeaders: [[Head(200, ())]], Idle: [[Body(b": still there\n\n")]]}
        stream, _ = stream_of(script, timeout=10)
        waiting(stream, envoy)
        stream.receive(envoy.response_headers())
        stream.receive(envoy.response_body(b"x"))
        now.steady += 10
        (response,) = stream.tick()
        assert envoy.read(response)["piece"] == b": still there\n\n"

    def test_an_exchange_without_a_timeout_gets_no_idle_event(self, stream_of, now, envoy):
        stream, _ = stream_of(LISTENS, timeout=None)
        waiting(stream, envoy)
        now.steady += 10_000
        assert not stream.is_idle

    def test_while_a_job_runs_the_stream_is_not_idle(self, stream_of, now, envoy):
        stream, _ = stream_of({**LISTENS, RequestBody: [[Wait(Job(), 30)]]}, timeout=1)
        waiting(stream, envoy)
        now.steady += 20
        assert not stream.is_idle

    @pytest.mark.parametrize("response", [Continue(), REPLY])
    def test_a_finished_exchange_is_not_idle(self, response, stream_of, now, envoy):
        stream, _ = stream_of({**LISTENS, ResponseHeaders: [[response]]}, timeout=1)
        waiting(stream, envoy)
        stream.receive(envoy.response_headers())
        now.steady += 20
        assert not stream.is_idle

    def test_bytes_that_lead_to_none_for_the_caller_put_off_no_keep_alive(self, stream_of, now, envoy):
        stream, exchange = stream_of({**LISTENS, ResponseHeaders: [[Head(200, ())]], ResponseBody: [[]]}, timeout=10)
        waiting(stream, envoy)
        stream.receive(envoy.response_headers())
        stream.receive(envoy.response_body(b"kept"))
        for _ in range(4):
            assert not stream.is_idle
            now.steady += 3
            stream.receive(envoy.response_body(b"kept"))
        assert stream.is_idle
        stream.tick()
        assert exchange.events[-1] == Idle(0)
        assert not stream.is_idle

    def test_the_first_bytes_of_a_response_put_off_a_keep_alive(self, stream_of, now, envoy):
        stream, _ = stream_of({**LISTENS, ResponseHeaders: [[]], ResponseBody: [[]]}, timeout=10)
        waiting(stream, envoy)
        stream.receive(envoy.response_headers())
        now.steady += 10
        stream.receive(envoy.response_body(b"kept"))
        assert not stream.is_idle

    def test_events_without_progress_are_idle_time(self, stream_of, now, envoy):
        stream, exchange = stream_of({**LISTENS, ResponseHeaders: [[Head(200, ())]], ResponseBody: [[]]}, timeout=10)
        waiting(stream, envoy)
        stream.receive(envoy.response_headers())
        exchange.progressed = False
        for _ in range(10):
            now.steady += 1
            stream.receive(envoy.response_body(b"x"))
        stream.tick()
        assert exchange.events[-1] == Idle(10)

"""Calls on one connection of the http2 transport, frame by frame; the h2 library is the client."""

import struct
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import pytest

from extproc.exchange.directives import Abort, Body, Continue, Forward, Head, Reply, Wait
from extproc.exchange.events import Idle, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.transport.health_protocol import SERVING
from extproc.transport.http2 import frames, framing
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.framing import Status
from extproc.transport.http2.session import AT_ONCE, CHECK, PROCESS, Session
from extproc.transport.stream import Clock, ExtProcStream, first_event

FORWARD = Forward("/model/m/converse", "bedrock.local", (), b"{}")
REPLY = Reply(200, (), b"done", "x")
WAITING = {RequestHeaders: [[Continue()]], RequestBody: [[FORWARD]], ResponseHeaders: [[Head(200, ())]]}
LIMIT = 1000
PATH = PROCESS.decode()
WAITING_EVENTS = ["request_headers", "request_body"]


@dataclass
class ClientCall:
    """A call as the client sees it."""

    headers: dict[str, str]
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def messages(self):
        read_messages, rest = [], self.data
        while rest:
            (size,) = struct.unpack_from(">xL", rest)
            read_messages.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return read_messages

    @property
    def status(self):
        return Status(int(self.headers["grpc-status"]))


def turn_of(message):
    """Whose turn a call is: the header that says so."""
    headers = first_event(message).headers
    return headers.get("organisation", ""), headers.get("token", "")


class SessionClient:
    """A session, and a client that has sent its preface. `new_stream` makes its streams."""

    def __init__(self, new_stream, limits=None):
        self.session = Session(new_stream, lambda: SERVING, LIMIT, limits, turn_of)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.calls = {}
        self.read = True
        self.flush()

    def open(self, path=PATH, content_type="application/grpc", method="POST", **more):
        stream_id = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "e")]
        more = [(name.replace("_", "-"), value) for name, value in more.items()]
        self.h2.send_headers(stream_id, [*fields, ("content-type", content_type), ("te", "trailers"), *more])
        return stream_id

    def send_messages(self, stream_id, *messages, end=False):
        for message in messages:
            self.h2.send_data(stream_id, framing.prefix(len(message)) + message)
        if end:
            self.h2.end_stream(stream_id)

    def flush(self):
        """Pass everything to the session in one read, receive its frames, and return the calls."""
        self.session.receive(self.h2.data_to_send())
        self.receive_frames()
        while self.read and (more := self.h2.data_to_send()):
            self.session.receive(more)
            self.receive_frames()
        return self.calls

    def receive_frames(self):
        for event in self.h2.receive_data(b"".join(self.session.data_to_send())):
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    self.calls.setdefault(event.stream_id, ClientCall({})).headers.update(dict(event.headers))
                case h2.events.DataReceived():
                    self.calls[event.stream_id].data += event.data
                    if self.read:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.calls[event.stream_id].ended = True
                case h2.events.StreamReset():
                    self.calls.setdefault(event.stream_id, ClientCall({})).reset = event.error_code


@pytest.fixture
def exchanges():
    return []


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def client(scripted, exchanges, now):
    def build(script=None, timeout=None, limits=None):
        def new_stream():
            exchanges.append(scripted(script or WAITING, timeout))
            return ExtProcStream(exchanges[-1], Clock(steady=lambda: now[0]), 100)

        return SessionClient(new_stream, limits)

    return build


def begun(client, envoy):
    """Open a call whose response is due piece by piece."""
    call = client.open()
    for message in (envoy.request_headers(), envoy.request_body(), envoy.response_headers()):
        client.send_messages(call, message)
        client.flush()
    return call


PIECES = {**WAITING, ResponseBody: [[Body(b"a")], [Body(b"b")], [Body(b"c", end_of_stream=True)]]}
WAITS = {RequestHeaders: [[Continue()]], RequestBody: [[Wait("a job", 5)]]}
TALKS = {**WAITING, ResponseBody: [[Body(b"x" * 900)]], Idle: [[Body(b": \n\n")]]}


class TestTurns:
    def test_bodies_of_one_read_get_one_response(self, client, envoy):
        gateway = client(PIECES)
        call = begun(gateway, envoy)
        gateway.send_messages(
            call, envoy.response_body(b"1"), envoy.response_body(b"2"), envoy.response_body(b"3", True)
        )
        message_count = gateway.flush()[call].messages
        assert [envoy.read(one)["kind"] for one in message_count] == [
            *WAITING_EVENTS,
            "response_headers",
            "response_body",
        ]
        assert (envoy.read(message_count[-1])["piece"], envoy.read(message_count[-1])["end_of_stream"]) == (
            b"abc",
            True,
        )

    def test_calls_do_not_mix(self, client, envoy):
        gateway = client(PIECES)
        calls = [begun(gateway, envoy) for _ in range(3)]
        for _ in range(3):
            for call in calls:
                gateway.send_messages(call, envoy.response_body(b"x"))
        received = gateway.flush()
        assert [envoy.read(received[call].messages[-1])["piece"] for call in calls] == [b"abc"] * 3

    def test_new_calls_come_after_the_others_and_what_those_led_to_is_written_before(self, client, envoy, exchanges):
        gateway = client(PIECES)
        going = begun(gateway, envoy)
        new = [gateway.open() for _ in range(AT_ONCE)]
        for call in new:
            gateway.send_messages(call, envoy.request_headers())
        gateway.send_messages(going, envoy.response_body(b"x"))
        check = gateway.open(CHECK.decode())
        gateway.send_messages(check, b"", end=True)
        made = []

        def between():
            gateway.receive_frames()
            made.append(len(exchanges))

        gateway.session.receive(gateway.h2.data_to_send(), between)
        assert made == [1], "no new call was handled before"
        assert envoy.read(gateway.calls[going].messages[-1])["piece"] == b"a"
        assert gateway.calls[check].messages == [SERVING]
        assert not gateway.calls.keys() & set(new)
        assert gateway.flush().keys() == {going, check, *new}
        assert len(exchanges) == AT_ONCE + 1

    def test_where_all_calls_are_new_or_none_is_there_is_one_write(self, client, envoy, exchanges):
        gateway, writes = client(PIECES), []

        def sent(*calls, message):
            for call in calls:
                gateway.send_messages(call, message)
            gateway.session.receive(gateway.h2.data_to_send(), lambda: writes.append(calls))
            gateway.receive_frames()

        calls = [gateway.open() for _ in range(3)]
        sent(*calls, message=envoy.request_headers())
        sent(*calls, message=envoy.request_body())
        assert writes == []
        assert [len(gateway.calls[call].messages) for call in calls] == [2, 2, 2]

    def test_messages_before_an_error_get_their_responses(self, client, envoy, caplog):
        script = {**WAITING, ResponseBody: [[Body(b"a")], [Body(b"b")], [Body(b"c"), Abort("no more")], [Body(b"d")]]}
        gateway = client(script)
        call = begun(gateway, envoy)
        gateway.send_messages(call, *[envoy.response_body(b"x")] * 4)
        received = gateway.flush()[call]
        assert envoy.read(received.messages[-1])["piece"] == b"ab"
        assert (received.status, received.headers["grpc-message"]) == (Status.INTERNAL, "AbandonedError")
        assert "no more" in caplog.text

    def test_a_call_that_is_reset_in_the_same_read_was_not_made(self, client, envoy, exchanges):
        gateway = client()
        call = gateway.open()
        gateway.send_messages(call, envoy.request_headers())
        gateway.h2.reset_stream(call)
        gateway.flush()
        assert exchanges == []
        assert gateway.session.calls == 0

    def test_a_call_in_the_same_read_as_the_connections_end_was_not_made(self, client, envoy, exchanges):
        gateway = client()
        gateway.send_messages(gateway.open(), envoy.request_headers())
        gateway.session.receive(gateway.h2.data_to_send() + frames.window_update(0, 0))
        [last] = gateway.h2.receive_data(b"".join(gateway.session.data_to_send()))
        assert isinstance(last, h2.events.ConnectionTerminated)
        assert not exchanges

    def test_messages_and_the_end_in_one_read(self, client, envoy):
        gateway = client({RequestHeaders: [[REPLY]]})
        call = gateway.open()
        gateway.send_messages(call, envoy.request_headers(), end=True)
        received = gateway.flush()[call]
        assert (len(received.messages), received.status, received.ended) == (1, Status.OK, True)


class TestWaiting:
    """New calls where there are many."""

    def flood(self, gateway, envoy, number, organisation="flood", **options):
        calls = [gateway.open() for _ in range(number)]
        for call in calls:
            gateway.send_messages(call, self.headers(envoy, organisation), **options)
        gateway.flush()
        return calls

    def headers(self, envoy, organisation):
        return envoy.request_headers((":method", "POST"), ("organisation", organisation))

    def begin(self, gateway, number):
        for _ in range(number):
            gateway.session.begin_next()
            gateway.receive_frames()
        return [call for call in gateway.calls if gateway.calls[call].messages]

    def test_many_new_calls_wait_and_are_begun_in_turns(self, client, envoy):
        gateway = client({RequestHeaders: [[REPLY]]})
        flood = self.flood(gateway, envoy, 30)
        assert (gateway.session.waiting, gateway.session.calls) == (30, 30)
        [late] = self.flood(gateway, envoy, 1, "acme")
        assert self.begin(gateway, 3) == [*flood[:1], late, flood[1]]
        assert self.begin(gateway, 28) == [flood[0], late, *flood[1:]]
        assert gateway.session.waiting == 0
        [next_one] = self.flood(gateway, envoy, 1)
        assert gateway.calls[next_one].messages, "begun at once again"

    def test_calls_that_go_on_and_health_checks_do_not_wait(self, client, envoy):
        gateway = client(PIECES)
        going = begun(gateway, envoy)
        self.flood(gateway, envoy, 30)
        gateway.send_messages(going, envoy.response_body(b"x"))
        check = gateway.open(CHECK.decode())
        gateway.send_messages(check, b"", end=True)
        gateway.flush()
        assert envoy.read(gateway.calls[going].messages[-1])["piece"] == b"a"
        assert gateway.calls[check].messages == [SERVING]
        assert gateway.session.waiting == 30

    @pytest.mark.parametrize("how", ["reset", "fault", "dropped", "stopped"])
    def test_a_call_that_ends_while_it_waits_is_never_begun(self, how, client, envoy, exchanges):
        gateway = client()
        calls = self.flood(gateway, envoy, 30)
        match how:
            case "reset":
                for call in calls:
                    gateway.h2.reset_stream(call)
                gateway.flush()
            case "fault":
                gateway.session.receive(b"\xff" * 9)
            case "dropped":
                gateway.session.drop_all()
            case "stopped":
                gateway.session.end_all()
                gateway.receive_frames()
                assert {gateway.calls[call].status for call in calls} == {Status.UNAVAILABLE}
        assert (gateway.session.waiting, gateway.session.calls, exchanges) == (0, 0, [])

    def test_what_comes_for_a_call_that_waits_is_handled_in_its_turn(self, client, envoy, exchanges):
        gateway = client({RequestHeaders: [[REPLY]]})
        first, second, *_ = self.flood(gateway, envoy, 30)
        gateway.send_messages(first, envoy.response_headers(), end=True)
        gateway.h2.end_stream(second)
        gateway.flush()
        assert exchanges == []
        assert self.begin(gateway, 2) == [first, second]
        assert [gateway.calls[call].status for call in (first, second)] == [Status.OK] * 2
        assert len(gateway.calls[first].messages) == 1

    def test_a_call_without_a_whole_message_waits_for_nobody(self, client, envoy, exchanges):
        gateway = client({RequestHeaders: [[REPLY]]})
        self.flood(gateway, envoy, 30)
        ended, broken, cut = gateway.open(), gateway.open(), gateway.open()
        gateway.h2.end_stream(ended)
        gateway.h2.send_data(broken, b"\x01\0\0\0\0")
        whole = framing.prefix(len(message := self.headers(envoy, "acme"))) + message
        gateway.h2.send_data(cut, whole[:9])
        gateway.flush()
        assert [gateway.calls[call].status for call in (ended, broken)] == [Status.OK, Status.UNIMPLEMENTED]
        gateway.h2.send_data(cut, whole[9:])
        gateway.flush()
        assert (gateway.session.waiting, exchanges) == (31, [])
        assert cut in self.begin(gateway, 2)


class TestStatuses:
    @pytest.mark.parametrize("how", ["whole", "byte by byte"])
    @pytest.mark.parametrize(
        ("data", "end", "status", "words"),
        [
            (b"\x01\0\0\0\x01", False, Status.UNIMPLEMENTED, "compressed"),
            (framing.prefix(LIMIT + 1), False, Status.RESOURCE_EXHAUSTED, "1001 bytes"),
            (framing.prefix(5) + b"abc", True, Status.INTERNAL, "cut off"),
            (b"\0\0", True, Status.INTERNAL, "cut off"),
            (b"", True, Status.OK, ""),
            (framing.prefix(3) + b"???", False, Status.INTERNAL, "WireError"),
        ],
    )
    def test_each_end_has_its_status(self, how, data, end, status, words, client):
        gateway = client()
        call = gateway.open()
        for piece in [data] if how == "whole" else [data[i : i + 1] for i in range(len(data))]:
            gateway.h2.send_data(call, piece)
            gateway.flush()
        if end:
            gateway.h2.end_stream(call)
        received = gateway.flush()[call]
        assert received.status is status
        assert words in received.headers.get("grpc-message", "")
        assert received.ended
        assert received.reset == (None if end else 0)
        assert gateway.session.calls == 0

    def test_after_an_error_the_rest_is_passed_over(self, client, envoy, exchanges):
        gateway = client()
        call = gateway.open()
        gateway.h2.send_data(call, b"\x01\0\0\0\0")
        gateway.send_messages(call, envoy.request_headers())
        assert gateway.flush()[call].status is Status.UNIMPLEMENTED
        assert exchanges == []

    def test_a_method_that_is_not_there(self, client):
        gateway = client()
        call = gateway.open("/envoy.service.ext_proc.v3.ExternalProcessor/Zürich 100%".encode().decode("latin-1"))
        received = gateway.flush()[call]
        assert (received.headers[":status"], received.status, received.data) == ("200", Status.UNIMPLEMENTED, b"")
        assert received.headers["grpc-message"].isascii()
        assert received.headers["grpc-message"].endswith("100%25")

    def test_an_unsupported_encoding_is_rejected_and_the_supported_one_named(self, client):
        gateway = client()
        call = gateway.open(grpc_encoding="gzip")
        received = gateway.flush()[call]
        assert received.status is Status.UNIMPLEMENTED
        assert received.headers["grpc-accept-encoding"] == "identity"

    @pytest.mark.parametrize(
        ("request_", "status"),
        [({"content_type": "application/json"}, "415"), ({"content_type": ""}, "415"), ({"method": "GET"}, "405")],
    )
    def test_a_request_that_is_no_grpc_gets_an_http_error(self, request_, status, client):
        gateway = client()
        call = gateway.open(**request_)
        assert gateway.flush()[call].headers[":status"] == status

    @pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;charset=utf-8"])
    def test_other_spellings_of_grpc_will_do(self, kind, client):
        gateway = client()
        gateway.open(content_type=kind)
        gateway.flush()
        assert gateway.session.calls == 1


class TestHealthChecks:
    def test_a_health_check_gets_one_response_and_ends(self, client):
        gateway = client()
        call = gateway.open(CHECK.decode())
        gateway.send_messages(call, b"", end=True)
        received = gateway.flush()[call]
        assert (received.messages, received.status, gateway.session.calls) == ([SERVING], Status.OK, 0)

    def test_it_counts_for_no_stream(self, client):
        gateway = client()
        gateway.open(CHECK.decode())
        gateway.flush()
        assert gateway.session.calls == 0


class TestJobsOfSessions:
    def waiting(self, gateway, envoy):
        call = gateway.open()
        gateway.send_messages(call, envoy.request_headers())
        gateway.flush()
        gateway.send_messages(call, envoy.request_body())
        gateway.flush()
        (changed,) = gateway.session.changed()
        assert changed.pending_job.job == "a job"
        return call, changed

    @pytest.mark.parametrize("end", ["reset", "fault", "ended", "dropped", "stopped"])
    def test_a_job_ends_with_its_call(self, end, client, envoy):
        gateway = client(WAITS)
        call, changed = self.waiting(gateway, envoy)
        match end:
            case "reset":
                gateway.h2.reset_stream(call)
                gateway.flush()
            case "fault":
                gateway.session.receive(b"\xff" * 9)
            case "ended":
                gateway.h2.end_stream(call)
                gateway.flush()
            case "dropped":
                gateway.session.drop_all()
            case "stopped":
                gateway.session.end_all()
        assert gateway.session.changed() == [changed]
        assert changed.pending_job is None
        gateway.session.resume(changed, "late")
        gateway.session.fail(changed, ValueError("late"))
        assert gateway.session.changed() == []


class TestSlowReaders:
    def test_a_peer_that_does_not_read_gets_no_keep_alives(self, client, envoy, now, exchanges):
        gateway = client(TALKS, timeout=15)
        call = begun(gateway, envoy)
        gateway.read = False
        for _ in range(100):
            gateway.send_messages(call, envoy.response_body(b"x"))
            gateway.flush()
        assert gateway.session.connection.blocked(call)
        now[0] += 20
        gateway.session.tick()
        assert not isinstance(exchanges[0].events[-1], Idle)

    def test_data_waiting_for_windows_is_bounded(self, client, envoy):
        limits = ConnectionLimits(stream_window=100_000, connection_window=200_000, queue_bytes=50_000)
        gateway = client(TALKS, limits=limits)
        calls = [begun(gateway, envoy) for _ in range(5)]
        gateway.read = False
        piece = envoy.response_body(b"y" * 900)
        message_count = 0
        while all(gateway.h2.local_flow_control_window(call) > 10_000 for call in calls):
            for call in calls:
                gateway.send_messages(call, piece)
                message_count += 1
            gateway.flush()
        # The windows that it had before the bound was passed, and the response to that: not more.
        assert gateway.session.connection.queued <= 2 * (200_000 + 50_000)
        assert message_count * len(piece) <= 200_000 + 2 * 65_535 + 50_000 + 5 * 100_000

"""The session: the tables of `extproc.transport.wire`, walked, and everything beside them rejected."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.exchange.directives import Body, Continue, Forward, Head, Reply
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, ResponseTrailers
from extproc.payload import LARGE
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.wire import ExtProcSession, SessionState, WireError

JSON = ("content-type", "application/json")
FORWARD = Forward("/model/m/converse", "bedrock.local", (JSON, ("authorization", "AWS4")), b"{ }")
REPLY = Reply(418, (JSON,), b'{"error":1}', "no_tea", remove=("x-upstream",))
HEAD = Head(200, (("content-type", "text/event-stream"),), remove=("x-upstream",))


@pytest.fixture
def at(envoy):
    """Return a session in the given state, with its output drained."""

    def go(state):
        session = ExtProcSession()
        for step in STEPS[state]:
            if callable(step):
                session.receive(step(envoy))
            else:
                session.apply(step)
        session.drain()
        assert session.state is state
        return session

    return go


STEPS = {SessionState.START: [], SessionState.ROUTING: [lambda envoy: envoy.request_headers()]}
STEPS[SessionState.BODY_DUE] = [*STEPS[SessionState.ROUTING], Continue()]
STEPS[SessionState.PREPARING] = [*STEPS[SessionState.BODY_DUE], lambda envoy: envoy.request_body()]
STEPS[SessionState.FORWARDED] = [*STEPS[SessionState.PREPARING], FORWARD]
STEPS[SessionState.WITHHELD] = [*STEPS[SessionState.FORWARDED], lambda envoy: envoy.response_headers()]
STEPS[SessionState.RESPONDING] = [*STEPS[SessionState.WITHHELD], lambda envoy: envoy.response_body(), HEAD]
STEPS[SessionState.RELAYING] = [*STEPS[SessionState.WITHHELD], Continue()]
STEPS[SessionState.OVER] = [*STEPS[SessionState.WITHHELD], REPLY]

EVENT_MESSAGES = {
    "request_headers": {SessionState.START: (RequestHeaders, SessionState.ROUTING)},
    "request_body": {
        SessionState.BODY_DUE: (RequestBody, SessionState.PREPARING),
        SessionState.OVER: (None, SessionState.OVER),
    },
    "response_headers": {
        **dict.fromkeys(
            (
                SessionState.START,
                SessionState.ROUTING,
                SessionState.BODY_DUE,
                SessionState.PREPARING,
                SessionState.FORWARDED,
            ),
            (ResponseHeaders, SessionState.WITHHELD),
        ),
        SessionState.OVER: (None, SessionState.OVER),
    },
    "response_body": {
        SessionState.WITHHELD: (ResponseBody, SessionState.WITHHELD),
        SessionState.RESPONDING: (ResponseBody, SessionState.RESPONDING),
        SessionState.RELAYING: (None, SessionState.RELAYING),
        SessionState.OVER: (None, SessionState.OVER),
    },
    "response_trailers": {
        SessionState.WITHHELD: (ResponseTrailers, SessionState.WITHHELD),
        SessionState.RESPONDING: (ResponseTrailers, SessionState.RESPONDING),
        SessionState.RELAYING: (None, SessionState.OVER),
        SessionState.OVER: (None, SessionState.OVER),
    },
    "request_trailers": {
        SessionState.BODY_DUE: (RequestBody, SessionState.PREPARING),
        SessionState.OVER: (None, SessionState.OVER),
    },
}
DIRECTIVE_RESPONSES = {
    Continue(): {SessionState.ROUTING: SessionState.BODY_DUE, SessionState.WITHHELD: SessionState.RELAYING},
    FORWARD: {SessionState.PREPARING: SessionState.FORWARDED},
    REPLY: dict.fromkeys(
        (
            SessionState.ROUTING,
            SessionState.BODY_DUE,
            SessionState.PREPARING,
            SessionState.FORWARDED,
            SessionState.WITHHELD,
        ),
        SessionState.OVER,
    ),
    HEAD: {SessionState.WITHHELD: SessionState.RESPONDING},
    Body(b"x"): {SessionState.RESPONDING: SessionState.RESPONDING},
    Body(b"x", end_of_stream=True): {SessionState.RESPONDING: SessionState.OVER},
}


@pytest.mark.parametrize(("name", "state"), list(itertools.product(EVENT_MESSAGES, SessionState)), ids=str)
def test_every_message_of_envoy_in_each_state(name, state, at, envoy):
    session = at(state)
    message = getattr(envoy, name)()
    if state not in EVENT_MESSAGES[name]:
        with pytest.raises(WireError, match=state.name):
            session.receive(message)
        return
    kind, after = EVENT_MESSAGES[name][state]
    event = session.receive(message)
    assert event is None if kind is None else isinstance(event, kind)
    assert session.state is after


@pytest.mark.parametrize(("directive", "state"), list(itertools.product(DIRECTIVE_RESPONSES, SessionState)), ids=str)
def test_every_directive_in_each_state(directive, state, at):
    session = at(state)
    if state not in DIRECTIVE_RESPONSES[directive]:
        with pytest.raises(WireError, match=state.name):
            session.apply(directive)
        assert session.drain() == []
        return
    session.apply(directive)
    assert session.state is DIRECTIVE_RESPONSES[directive][state]
    assert session.drain()


class TestEvents:
    def test_headers_come_by_name_with_repeated_ones_joined(self, envoy):
        event = ExtProcSession().receive(
            envoy.request_headers((":path", "/é"), ("accept", "a"), ("accept", "b"), ("empty", ""))
        )
        assert event.headers == {":path": "/é", "accept": "a,b", "empty": ""}
        assert not event.end_of_stream

    def test_a_plain_value_is_read_where_there_is_no_raw_one(self):
        headers = pb.HeaderMap(headers=[pb.HeaderValue(key=":path", value="/plain")])
        message = pb.ProcessingRequest(request_headers=pb.HttpHeaders(headers=headers))
        assert ExtProcSession().receive(message.SerializeToString()).headers == {":path": "/plain"}

    def test_a_body_is_whole_even_when_trailers_follow(self, at, envoy):
        assert at(SessionState.BODY_DUE).receive(envoy.request_body(b"[]", end_of_stream=False)) == RequestBody(
            b"[]", trailers=True
        )

    @pytest.mark.parametrize(
        ("details", "local", "word"),
        [
            ("via_upstream", False, "via_upstream"),
            ("request_payload_too_large", True, "request_payload_too_large"),
            ("", False, ""),
            (None, False, ""),
        ],
    )
    def test_a_response_by_envoy_itself_is_recognised_by_its_details(self, details, local, word, at, envoy):
        event = at(SessionState.FORWARDED).receive(envoy.response_headers(503, details=details))
        assert (event.local, event.details) == (local, word)

    def test_a_stream_may_begin_with_a_response(self, envoy):
        event = ExtProcSession().receive(envoy.response_headers(200, end_of_stream=True, details="health_check_ok"))
        assert event == ResponseHeaders({":status": "200"}, True, True, "health_check_ok")

    def test_the_body_messages_of_a_response(self, at, envoy):
        session = at(SessionState.WITHHELD)
        assert session.receive(envoy.response_body(b"a")) == ResponseBody(b"a")
        assert session.receive(envoy.response_body(b"", True)) == ResponseBody(b"", True)

    def test_a_message_of_no_known_kind_is_no_event(self, at):
        assert at(SessionState.FORWARDED).receive(b"") is None


class TestResponses:
    def test_untouched_headers(self, at, envoy):
        for state, kind in ((SessionState.ROUTING, "request_headers"), (SessionState.WITHHELD, "response_headers")):
            session = at(state)
            session.apply(Continue())
            assert [envoy.read(message) for message in session.drain()] == [{"kind": kind}]

    def test_a_forward_replaces_path_authority_length_and_body(self, at, envoy):
        session = at(SessionState.PREPARING)
        session.apply(FORWARD)
        (response,) = map(envoy.read, session.drain())
        assert response == {
            "kind": "request_body",
            "body": b"{ }",
            "set": {
                ":path": "/model/m/converse",
                ":authority": "bedrock.local",
                "content-length": "3",
                "content-type": "application/json",
                "authorization": "AWS4",
            },
            "metadata": {"oai": {"signed": True}},
        }

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_only_a_forward_carries_the_mark_that_opens_the_route(self, size, at, envoy):
        session = at(SessionState.PREPARING)
        session.apply(Forward("/", "b", (), b"x" * size, {"model": "m"}))
        (response,) = map(envoy.read, map(bytes, session.drain()))
        assert response["metadata"] == {"oai": {"signed": True, "model": "m"}}
        for other in (Reply(200, (), b"", "x", metadata={"n": 1}), Reply(200, (), b"", "x")):
            session = at(SessionState.PREPARING)
            session.apply(other)
            assert not any(b"signed" in bytes(message) for message in session.drain())

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_a_header_marks_a_forward_where_routes_match_headers(self, size, at):
        session = at(SessionState.PREPARING)
        session.apply(Forward("/", "b", (), b"x" * size, mark_by_header=True))
        [message] = session.drain()
        sent = pb.ProcessingResponse.FromString(bytes(message)).request_body.response
        assert {each.header.key: each.header.raw_value for each in sent.header_mutation.set_headers} == {
            ":path": b"/",
            ":authority": b"b",
            "content-length": str(size).encode(),
            "x-forwarded-client-cert": b"signed",
        }
        assert sent.clear_route_cache
        assert sent.body_mutation.body == b"x" * size

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_the_mark_of_another_region_is_its_name(self, size, at, envoy):
        """A route that asks for `signed: true`, or the header's usual value, does not match it."""
        session = at(SessionState.PREPARING)
        session.apply(Forward("/", "b", (), b"x" * size, mark_by_header=True, region="eu-central-1"))
        (response,) = map(envoy.read, map(bytes, session.drain()))
        assert response["metadata"] == {"oai": {"signed": "eu-central-1"}}
        assert response["set"]["x-forwarded-client-cert"] == "eu-central-1"

    def test_without_a_header_for_the_mark_the_route_is_the_filters_affair(self, at):
        session = at(SessionState.PREPARING)
        session.apply(FORWARD)
        [message] = session.drain()
        assert not pb.ProcessingResponse.FromString(bytes(message)).request_body.response.clear_route_cache

    def test_the_length_of_a_forward_is_counted(self, at, envoy):
        session = at(SessionState.PREPARING)
        session.apply(Forward("/", "b", (("accept", "x"), ("content-length", "99")), b"12345"))
        (response,) = map(envoy.read, session.drain())
        assert response["set"]["content-length"] == "5"

    def test_a_clients_headers_are_removed_before_its_body_is_read(self, at, envoy):
        session = at(SessionState.ROUTING)
        session.apply(Continue(("authorization", "x-envoy-retry-on")))
        (response,) = map(envoy.read, session.drain())
        assert response == {"kind": "request_headers", "remove": {"authorization", "x-envoy-retry-on"}}

    def test_an_upstreams_host_is_overwritten_because_envoy_does_not_remove_it(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.apply(Head(200, (), ("host", "x-envoy-anything")))
        (response,) = map(envoy.read, session.drain())
        assert response["remove"] == {"x-envoy-anything", "content-length"}
        assert response["set"]["host"] == ""

    @pytest.mark.parametrize(
        "state", [SessionState.ROUTING, SessionState.BODY_DUE, SessionState.PREPARING, SessionState.FORWARDED]
    )
    def test_a_reply_to_a_request_is_immediate(self, state, at, envoy):
        session = at(state)
        session.apply(REPLY)
        (response,) = map(envoy.read, session.drain())
        assert response == {
            "kind": "immediate_response",
            "status": 418,
            "body": b'{"error":1}',
            "details": "no_tea",
            "set": {"content-type": "application/json"},
        }

    def test_a_reply_that_replaces_a_response_is_a_head_and_one_body(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.receive(envoy.response_body(b"raw", end_of_stream=True))
        session.apply(REPLY)
        head, body = map(envoy.read, session.drain())
        assert head == {
            "kind": "response_headers",
            "set": {":status": "418", "content-length": "11", "content-type": "application/json"},
            "remove": {"x-upstream"},
        }
        assert body == {"kind": "response_body", "piece": b'{"error":1}', "end_of_stream": True}

    def test_a_reply_that_replaces_a_response_without_a_body(self, at, envoy):
        session = at(SessionState.FORWARDED)
        session.receive(envoy.response_headers(404, end_of_stream=True))
        session.apply(REPLY)
        (response,) = map(envoy.read, session.drain())
        assert response["replace"]
        assert response["body"] == b'{"error":1}'
        assert response["set"][":status"] == "418"

    def test_a_reply_that_replaces_a_response_with_trailers(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.receive(envoy.response_trailers())
        session.apply(REPLY)
        assert [envoy.read(message)["kind"] for message in session.drain()] == ["immediate_response"]

    def test_a_reply_before_any_body_is_immediate(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.apply(REPLY)
        assert [envoy.read(message)["kind"] for message in session.drain()] == ["immediate_response"]
        assert session.receive(envoy.response_body()) is None

    def test_no_piece_goes_out_before_envoy_has_sent_one(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.apply(HEAD)
        session.drain()
        with pytest.raises(WireError, match="Body in state RESPONDING"):
            session.apply(Body(b": keepalive"))
        assert session.drain() == []

    def test_a_head_drops_the_upstreams_length(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.apply(HEAD)
        (response,) = map(envoy.read, session.drain())
        assert response == {
            "kind": "response_headers",
            "set": {":status": "200", "content-type": "text/event-stream"},
            "remove": {"x-upstream", "content-length"},
        }

    def test_a_head_may_have_a_length_of_its_own(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.apply(Head(200, (("content-length", "7"),)))
        (response,) = map(envoy.read, session.drain())
        assert response["set"]["content-length"] == "7"
        assert "remove" not in response

    def test_a_head_for_a_response_without_a_body_is_the_last_message(self, at, envoy):
        session = at(SessionState.FORWARDED)
        session.receive(envoy.response_headers(204, end_of_stream=True))
        session.apply(HEAD)
        assert session.state is SessionState.OVER

    def test_several_pieces_become_one_with_the_last_metadata(self, at, envoy):
        session = at(SessionState.RESPONDING)
        session.apply(Body(b"a", metadata={"n": 1, "model": "m"}))
        session.apply(Body(b"b", metadata={"n": 2}))
        session.apply(Body(b"c", end_of_stream=True))
        (response,) = map(envoy.read, session.drain())
        assert response == {
            "kind": "response_body",
            "piece": b"abc",
            "end_of_stream": True,
            "metadata": {"oai": {"n": 2, "model": "m"}},
        }
        assert session.drain() == []

    def test_metadata_keeps_its_types(self, at):
        session = at(SessionState.ROUTING)
        session.apply(Reply(200, (), b"", "x", metadata={"flag": True, "n": 2**53, "text": "é"}))
        (message,) = session.drain()
        fields = pb.ProcessingResponse.FromString(message).dynamic_metadata.fields["oai"].struct_value.fields
        kinds = {
            name: (value.WhichOneof("kind"), getattr(value, value.WhichOneof("kind"))) for name, value in fields.items()
        }
        assert kinds == {"flag": ("bool_value", True), "n": ("number_value", 2**53), "text": ("string_value", "é")}

    @pytest.mark.parametrize("state", [SessionState.ROUTING, SessionState.PREPARING])
    def test_more_time_is_requested_once_for_each_response(self, state, at, envoy):
        session = at(state)
        session.extend_timeout(60.0001)
        session.extend_timeout(60)
        assert [envoy.read(message) for message in session.drain()] == [{"kind": None, "more_time": 60.001}]

    def test_more_time_is_requested_again_for_the_next_response(self, at, envoy):
        session = at(SessionState.ROUTING)
        session.extend_timeout(1)
        session.apply(Continue())
        session.receive(envoy.request_body())
        session.extend_timeout(2)
        response = [envoy.read(message) for message in session.drain()]
        assert [message.get("more_time") for message in response] == [1, None, 2]

    def test_no_time_is_requested_where_no_response_is_due(self, at):
        with pytest.raises(WireError, match="FORWARDED"):
            at(SessionState.FORWARDED).extend_timeout(1)

    def test_no_time_is_requested_at_the_end_of_a_response_where_no_timeout_runs(self, at, envoy):
        session = at(SessionState.WITHHELD)
        with pytest.raises(WireError, match="WITHHELD"):
            session.extend_timeout(1)
        session.receive(envoy.response_body(b"a", end_of_stream=True))
        session.extend_timeout(1)
        assert session.drain() == []
        assert session.stuck, "until a job has its result"

    def test_an_untouched_response_is_passed_on(self, at, envoy):
        session = at(SessionState.RELAYING)
        for message in (envoy.response_body(b"a"), envoy.response_body(b"b", end_of_stream=True)):
            assert session.receive(message) is None
        assert [envoy.read(message) for message in session.drain()] == [
            {"kind": "response_body", "piece": b"a", "end_of_stream": False},
            {"kind": "response_body", "piece": b"b", "end_of_stream": True},
        ]
        assert session.state is SessionState.OVER

    def test_untouched_trailers_are_passed_on(self, at, envoy):
        session = at(SessionState.RELAYING)
        session.receive(envoy.response_trailers())
        assert [envoy.read(message)["kind"] for message in session.drain()] == ["response_trailers"]

    def test_a_header_is_the_same_bytes_in_and_out(self, at):
        value = bytes(range(0x20, 0x100)).decode("latin-1")
        session = at(SessionState.ROUTING)
        session.apply(Reply(200, (("x-odd", value), ("x-far", "€")), b"", "x"))
        (message,) = session.drain()
        options = pb.ProcessingResponse.FromString(message).immediate_response.headers.set_headers
        assert [option.header.raw_value for option in options] == [bytes(range(0x20, 0x100)), b"?"]


class TestNothingHangsAndNothingIsGuessed:
    def test_a_request_without_a_body_cannot_continue(self, envoy):
        session = ExtProcSession()
        session.receive(envoy.request_headers(end_of_stream=True))
        with pytest.raises(WireError, match="Continue in state ROUTING"):
            session.apply(Continue())

    @pytest.mark.parametrize("state", SessionState)
    def test_an_exchange_is_stuck_where_envoy_waits_for_it(self, state, at):
        assert at(state).stuck == (state in (SessionState.ROUTING, SessionState.PREPARING))

    @pytest.mark.parametrize("state", [SessionState.WITHHELD, SessionState.RESPONDING])
    @pytest.mark.parametrize("end", ["response_body", "response_trailers"])
    def test_an_exchange_that_outlives_its_response_is_stuck(self, state, end, at, envoy):
        session = at(state)
        session.receive(envoy.response_body(b"", True) if end == "response_body" else envoy.response_trailers())
        assert session.stuck

    @pytest.mark.parametrize(
        ("modes", "words"),
        [
            ((pb.STREAMED, pb.FULL_DUPLEX_STREAMED), "request_body_mode is STREAMED, set it to BUFFERED"),
            ((pb.BUFFERED, pb.BUFFERED), "response_body_mode is BUFFERED, set it to FULL_DUPLEX_STREAMED"),
            ((pb.BUFFERED, 77), "response_body_mode is 77"),
        ],
    )
    def test_unsupported_processing_modes_are_rejected(self, modes, words, envoy):
        with pytest.raises(WireError, match=words):
            ExtProcSession().receive(envoy.request_headers(modes=modes))

    def test_a_filter_that_only_observes_is_rejected(self):
        with pytest.raises(WireError, match="observability_mode"):
            ExtProcSession().receive(pb.ProcessingRequest(observability_mode=True).SerializeToString())

    def test_bytes_that_are_no_message_are_rejected(self):
        with pytest.raises(WireError, match="not a ProcessingRequest"):
            ExtProcSession().receive(b"\xff\xff\xff")

    def test_a_second_end_of_a_response_is_rejected(self, at, envoy):
        session = at(SessionState.WITHHELD)
        session.receive(envoy.response_body(b"", end_of_stream=True))
        with pytest.raises(WireError):
            session.receive(envoy.response_body(b"more"))


messages = st.sampled_from(
    [
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "response_body",
        "response_trailers",
    ]
)
directives = st.sampled_from(list(DIRECTIVE_RESPONSES))


@settings(max_examples=200)
@given(steps=st.lists(messages | directives, max_size=12), junk=st.binary(max_size=40))
def test_any_events_become_chunks_or_one_named_error(steps, junk, envoy):
    session, last_words = ExtProcSession(), 0
    for step in [*steps, junk]:
        try:
            if isinstance(step, bytes):
                session.receive(step)
            elif isinstance(step, str):
                session.receive(getattr(envoy, step)())
            else:
                session.apply(step)
        except WireError:
            break
        response = [envoy.read(message) for message in session.drain()]
        last_words += sum(1 for one in response if one.get("end_of_stream") or one["kind"] == "immediate_response")
    assert last_words <= 1

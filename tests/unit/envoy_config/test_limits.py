"""Sizes, numbers and times of connections and requests."""

import pytest

from tests.unit.envoy_config.documents import Edit, cluster, every, one, routes


def test_the_route_allows_for_the_headers_that_the_worker_adds(document: Edit) -> None:
    rendered = document("limits: {request_bytes: 1000000}")
    assert routes(rendered)["api"]["request_body_buffer_limit"] == 1_250_000
    assert cluster(rendered, "processor")["per_connection_buffer_limit_bytes"] > 1_250_000


@pytest.mark.parametrize("size", [1024, 536870912])
def test_the_buffer_of_a_connection_does_not_grow_with_the_body_limit(document: Edit, size: int) -> None:
    rendered = document(f"limits: {{request_bytes: {size}}}")
    assert rendered["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] == 65_536
    assert cluster(rendered, "bedrock")["per_connection_buffer_limit_bytes"] == 32_768


def test_the_largest_limit_fits(document: Edit) -> None:
    rendered = document("limits: {request_bytes: 536870912}")
    assert max(every(rendered, "per_connection_buffer_limit_bytes")) < 2**32


@pytest.mark.parametrize(("files", "limit"), [({}, 20_000), ({"files": 1024}, 384)])
def test_connections_are_limited_by_the_open_files(document: Edit, files: dict[str, int], limit: int) -> None:
    assert one(document(**files), "max_active_downstream_connections") == str(limit)


def test_a_connection_has_few_requests_at_once(document: Edit) -> None:
    """A request costs Envoy kilobytes, and the caller a dozen bytes."""
    [manager] = [each for each in every(document(), "typed_config") if each.get("stat_prefix") == "oai"]
    assert manager["http2_protocol_options"]["max_concurrent_streams"] == 100
    assert manager["stream_flush_timeout"] == "60s"
    assert one(document(), "overload.premature_reset_total_stream_count") == 100


def test_the_limit_is_named_to_the_caller(document: Edit) -> None:
    assert any("1000000 bytes" in message for message in every(document("limits: {request_bytes: 1000000}"), "message"))


def test_the_worker_may_request_a_timeout_as_long_as_its_own_calls(document: Edit) -> None:
    assert one(document("embeddings: {seconds: 600}"), "max_message_timeout") == "720s"
    assert one(document("embeddings: {seconds: 1}"), "max_message_timeout") == "121s"  # three steps of translation
    assert one(document(), "message_timeout") == "30s"


def test_envoy_waits_longer_than_the_worker(document: Edit) -> None:
    rendered = document("streaming: {idle_seconds: 1000}")
    assert one(rendered, "stream_idle_timeout") == "1060s"
    assert routes(rendered)["api"]["route"]["idle_timeout"] == "1060s"
    assert routes(rendered)["api"]["route"]["timeout"] == "0s"
    uploads = "limits: {request_bytes: 16777216, upload_seconds: 10}"  # 20 MiB at the longest, 40 s
    assert one(document(uploads), "request_timeout") == "110s"


def test_both_routes_of_a_call_have_the_same_limits(document: Edit) -> None:
    api, bedrock = (dict(routes(document())[name]) for name in ("api", "bedrock"))
    assert bedrock.pop("request_headers_to_remove") == ["x-forwarded-proto"]
    del bedrock["route"]["host_rewrite_literal"]
    for route in (api, bedrock):
        del route["name"], route["match"], route["route"]["cluster"]
    assert api == bedrock


def test_one_connection_opens_one_request_in_a_turn_of_the_event_loop(document: Edit) -> None:
    assert one(document(), "http.max_requests_per_io_cycle") == 1


def test_unread_calls_do_not_fill_the_window_of_the_others(document: Edit) -> None:
    """All calls on an HTTP/2 connection share its window."""
    options = one(cluster(document(), "bedrock"), "http2_protocol_options")
    calls, of_each = int(options["max_concurrent_streams"]), int(options["initial_stream_window_size"])
    assert calls * of_each < int(options["initial_connection_window_size"])


def test_there_are_files_for_callers_and_for_bedrock(document: Edit) -> None:
    whole = document(files=4096)
    [thresholds, *_] = cluster(whole, "bedrock")["circuit_breakers"]["thresholds"]
    callers = int(one(whole, "max_active_downstream_connections"))
    assert callers + int(thresholds["max_connections"]) <= 4096 - 256

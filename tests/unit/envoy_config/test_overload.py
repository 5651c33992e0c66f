"""What Envoy does where its memory is limited."""

from tests.unit.envoy_config.documents import Edit, every, one, routes


def test_envoy_monitors_its_memory_where_the_limit_is_configured(document: Edit) -> None:
    assert "actions" not in document()["overload_manager"]
    manager = document(memory=1 << 30)["overload_manager"]
    assert one(manager, "max_heap_size_bytes") == str(960 << 20)
    assert [action["name"].rpartition(".")[2] for action in manager["actions"]] == [
        "reduce_timeouts",
        "shrink_heap",
        "reset_high_memory_stream",
        "stop_accepting_requests",
    ]
    assert [point["name"].rpartition(".")[2] for point in manager["loadshed_points"]] == [
        "http2_server_go_away_and_close_on_dispatch",
        "tcp_listener_accept",
    ]


def test_a_complete_response_may_be_read_slowly_where_envoy_monitors_its_memory(document: Edit) -> None:
    assert not any(every(document(), "flush_timeout"))
    rendered = document(memory=1 << 30)
    assert [route["route"]["flush_timeout"] for route in (routes(rendered)[name] for name in ("api", "bedrock"))] == [
        "600s",
        "600s",
    ]
    assert one(rendered["overload_manager"], "minimum_account_to_track_power_of_two") == 20
    assert set(every(rendered, "per_connection_buffer_high_watermark_timeout")) == {"600s"}

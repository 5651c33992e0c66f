"""Envoy's own replies, in OpenAI's shape."""

from tests.unit.envoy_config.documents import Edit, fragment, one


def test_every_reply_of_envoys_own_has_openais_shape(document: Edit) -> None:
    replies = one(document(), "mappers")
    for reply in replies:
        error = reply["body_format_override"]["json_format"]["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert "!('content-type' in response.headers" in one(reply, "expression"), "else it rewrites the worker's"
    assert one(replies[-1], "expression").endswith("&& (true)"), "the last one takes what is left"
    errors = [one(reply, "error") for reply in replies]
    assert all(error["code"] for error in errors if error["type"] == "server_error"), "clients switch on it"


def test_replies_for_an_envoy_of_ones_own_touch_only_ours() -> None:
    workers, processor = fragment("reply")
    assert workers.keys() == {"filter"}, "the worker's answers stay"
    assert "ext_proc_error" in one(processor, "expression")
    assert one(processor, "json_format")["error"]["code"] == "processor_unavailable"

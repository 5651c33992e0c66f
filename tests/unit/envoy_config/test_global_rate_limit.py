"""A rate limit service beside the gateway."""

from tests.unit.envoy_config.documents import Edit, cluster, every, fragment, one, routes

ASKED = "{rate_limits: {by: envoy, service: 'ratelimit.mesh:8081'}}"


def test_a_rate_limit_service_is_asked_behind_the_worker_and_told_in_front_of_it(document: Edit) -> None:
    rendered = document(ASKED)
    filters = one(rendered["static_resources"]["listeners"][0], "http_filters")
    names = [each["name"] for each in filters]
    assert names[-4:-1] == ["oai-limit-report", "oai-extproc", "oai-limit-ask"]
    assert all(each.get("disabled") for each in filters[-4:-1])
    for name in ("api", "bedrock"):
        assert {"oai-limit-report", "oai-limit-ask"} <= routes(rendered)[name]["typed_per_filter_config"].keys()
    report, _, ask = [each["typed_config"] for each in filters[-4:-1]]
    assert [limit.get("apply_on_stream_done") for limit in report["rate_limits"]] == [True] * 4
    assert [limit["hits_addend"] for limit in ask["rate_limits"]] == [{"number": 1}, {"number": 0}] * 2
    assert report["domain"] == ask["domain"] == "oai"
    assert "failure_mode_deny" not in ask
    [endpoint] = every(cluster(rendered, "rate_limit"), "socket_address")
    assert endpoint == {"address": "ratelimit.mesh", "port_value": 8081}
    assert [each["name"] for each in fragment("filter", settings=ASKED)] == names[-4:-1]


def test_a_rate_limit_service_that_does_not_answer_rejects_where_it_is_to(document: Edit) -> None:
    rendered = document("{rate_limits: {by: envoy, service: 'a:1', domain: mesh, on_store_error: reject}}")
    asked = [each for each in every(rendered, "typed_config") if each["@type"].endswith("ratelimit.v3.RateLimit")]
    assert [(each["failure_mode_deny"], each["domain"]) for each in asked] == [(True, "mesh")] * 2

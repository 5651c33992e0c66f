"""Nothing reaches Bedrock past a worker, and nothing is tried twice that may have begun."""

from tests.unit.envoy_config.documents import Edit, cluster, every, one, one_cluster, routes


def test_a_dead_worker_is_never_passed_by(document: Edit) -> None:
    rendered = document()
    assert not any(every(rendered, "failure_mode_allow"))
    assert one(rendered, "status_on_error") == {"code": "ServiceUnavailable"}
    assert cluster(rendered, "processor")["common_lb_config"]["healthy_panic_threshold"].get("value", 0) == 0


def test_only_the_api_is_processed_and_only_it_leads_to_bedrock(document: Edit) -> None:
    rendered = document()
    processed = {name for name, route in routes(rendered).items() if "typed_per_filter_config" in route}
    forwarded = {name for name, route in routes(rendered).items() if "route" in route}
    assert processed == forwarded == {"api", "bedrock"}
    [switched_off] = [
        each for each in one(rendered["static_resources"]["listeners"][0], "http_filters") if each.get("disabled")
    ]
    assert switched_off["typed_config"]["@type"].endswith("ext_proc.v3.ExternalProcessor")
    assert all(switched_off["name"] in routes(rendered)[name]["typed_per_filter_config"] for name in processed)


def test_the_route_to_bedrock_requires_a_workers_mark(document: Edit) -> None:
    rendered = document()
    assert [name for name, route in routes(rendered).items() if one_cluster(route) == "bedrock"] == ["bedrock"]
    assert one_cluster(routes(rendered)["api"]) == "unprocessed"
    assert cluster(rendered, "unprocessed").keys() == {"name", "type", "connect_timeout"}, "it has no endpoint"
    mark = {"filter": "oai", "path": [{"key": "signed"}], "value": {"bool_match": True}}
    assert routes(rendered)["bedrock"]["match"] == {"path_separated_prefix": "/model", "dynamic_metadata": [mark]}
    assert one(rendered, "receiving_namespaces") == {"untyped": ["oai"]}
    assert one(rendered, "route_cache_action") == "CLEAR"


def test_only_calls_that_cannot_have_begun_are_retried(document: Edit) -> None:
    retry_on = routes(document())["api"]["route"]["retry_policy"]["retry_on"]
    assert set(retry_on.split(",")) == {"connect-failure", "refused-stream", "reset-before-request"}

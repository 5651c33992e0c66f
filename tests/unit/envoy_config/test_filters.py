"""What the filter lets a worker write."""

from tests.unit.envoy_config.documents import Edit, fragment, one


def test_the_worker_writes_in_envoys_own_namespace_where_it_is_to(document: Edit) -> None:
    written = one(document("{usage: {envoy_ai: true}}"), "receiving_namespaces")
    assert written == {"untyped": ["oai", "envoy.ai.token_usage"]}


def test_the_worker_may_remove_callers_headers_to_envoy() -> None:
    [ext_proc] = fragment("filter")
    rules = {"allow_all_routing": True, "allow_envoy": True, "disallow_expression": {"regex": "^:authority$"}}
    assert one(ext_proc, "mutation_rules") == rules

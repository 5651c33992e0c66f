"""The bootstrap as a document; tests/envoy/ runs Envoy with it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import extproc.envoy_config.bootstrap  # noqa: F401 - imported by itself, so that the messages have their validators
from extproc import config, envoy_config
from extproc.bedrock.endpoints import Endpoint
from extproc.config.jwt import JwtIssuer
from extproc.envoy_config import (
    CallersTls,
    EnvoyPlan,
    Fragment,
    ProcessorTls,
    SecretKind,
    render,
    render_callers_secret,
    render_secret,
)
from extproc.envoy_config.cors import EXPOSED
from extproc.net import Address
from extproc.proxy import Proxy

AWS = Endpoint("https", "bedrock-runtime.eu-west-1.amazonaws.com", 443)
Edit = Callable[..., dict[str, Any]]


@pytest.fixture
def document() -> Edit:
    """Return the parsed bootstrap of a plan; arguments change the plan."""

    def make(settings: str = "{}", **changes: Any) -> dict[str, Any]:
        values = {"listen": Address("127.0.0.1", 8080), "processors": (Address(path="/run/w0.sock"),), "bedrock": AWS}
        plan = EnvoyPlan(**{**values, **changes}, settings=config.parse(settings.encode()))
        parsed: dict[str, Any] = yaml.safe_load(render(plan))
        return parsed

    return make


def every(value: Any, key: str) -> Iterator[Any]:
    """Yield all values under `key`, anywhere."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key:
                yield item
            yield from every(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from every(item, key)


def one(value: Any, key: str) -> Any:
    [section] = every(value, key)
    return section


def cluster(document: Any, name: str) -> Any:
    [section] = [each for each in document["static_resources"]["clusters"] if each["name"] == name]
    return section


def routes(document: Any) -> dict[str, Any]:
    return {route["name"]: route for route in one(document, "routes")}


# Several regions

FRANKFURT = Endpoint("https", "bedrock-runtime.eu-central-1.amazonaws.com", 443)
SYDNEY = Endpoint("https", "bedrock-runtime.ap-southeast-2.amazonaws.com", 443)


def test_each_region_has_a_cluster_and_a_route_that_its_own_mark_opens(document: Edit) -> None:
    rendered = document(elsewhere={"eu-central-1": FRANKFURT, "ap-southeast-2": SYDNEY})
    there = {name: route for name, route in routes(rendered).items() if name.startswith("bedrock")}
    assert list(there) == ["bedrock-eu-central-1", "bedrock-ap-southeast-2", "bedrock"]
    marks = {name: one(route["match"]["dynamic_metadata"], "value") for name, route in there.items()}
    assert marks == {
        "bedrock-eu-central-1": {"string_match": {"exact": "eu-central-1"}},
        "bedrock-ap-southeast-2": {"string_match": {"exact": "ap-southeast-2"}},
        "bedrock": {"bool_match": True},
    }
    for name, endpoint in {"bedrock-eu-central-1": FRANKFURT, "bedrock-ap-southeast-2": SYDNEY, "bedrock": AWS}.items():
        assert there[name]["route"]["cluster"] == name
        assert there[name]["route"]["host_rewrite_literal"] == endpoint.host
        assert one(cluster(rendered, name), "socket_address")["address"] == endpoint.host


def test_behind_a_proxy_each_region_has_a_tunnel(document: Edit) -> None:
    rendered = document(elsewhere={"eu-central-1": FRANKFURT}, proxy=Proxy(Address("proxy.example", 3128)))
    tunnels = {each["hostname"] for each in every(rendered, "tunneling_config")}
    assert tunnels == {f"{AWS.host}:443", f"{FRANKFURT.host}:443"}
    names = {each["name"] for each in rendered["static_resources"]["listeners"] if "internal_listener" in each}
    for name in ("bedrock", "bedrock-eu-central-1"):
        assert one(cluster(rendered, name), "server_listener_name") in names
    assert len(names) == 2


# A proxy


def test_a_proxy_is_named_and_bedrock_looked_up_by_it_alone(document: Edit) -> None:
    rendered = document(proxy=Proxy(Address("proxy.example", 3128), "Basic c2VjcmV0"))
    tunnel = one(rendered, "tunneling_config")
    assert tunnel["hostname"] == "bedrock-runtime.eu-west-1.amazonaws.com:443"
    assert one(tunnel, "header") == {"key": "proxy-authorization", "value": "%ENVIRONMENT(OAI_PROXY_AUTHORIZATION)%"}
    addresses = [*every(rendered["static_resources"], "socket_address")]
    assert {"address": "proxy.example", "port_value": 3128} in addresses
    assert not [address for address in addresses if "amazonaws" in address["address"]]
    assert one(cluster(rendered, "bedrock"), "upstream_http_protocol_options") == {
        "auto_sni": True,
        "auto_san_validation": True,
    }
    assert "c2VjcmV0" not in json.dumps(rendered)


def test_tunnels_do_not_count_as_callers_connections_and_buffer_little(document: Edit) -> None:
    rendered = document(proxy=Proxy(Address("proxy.example", 3128)))
    [_, tunnel] = rendered["static_resources"]["listeners"]
    assert tunnel["ignore_global_conn_limit"]
    assert "per_connection_buffer_high_watermark_timeout" not in tunnel
    assert tunnel["per_connection_buffer_limit_bytes"] == 32_768
    assert cluster(rendered, "bedrock-proxy")["per_connection_buffer_limit_bytes"] == 32_768
    assert one(rendered["bootstrap_extensions"], "buffer_size_kb") == 32
    assert "headers_to_add" not in one(tunnel, "tunneling_config")


# Limits and times


def test_the_route_allows_for_the_headers_that_the_worker_adds(document: Edit) -> None:
    rendered = document("limits: {request_bytes: 1000000}")
    assert routes(rendered)["api"]["request_body_buffer_limit"] == 1_250_000
    assert cluster(rendered, "processor")["per_connection_buffer_limit_bytes"] > 1_250_000


@pytest.mark.parametrize("size", [1024, 536870912])
def test_the_buffer_of_a_connection_does_not_grow_with_the_body_limit(document: Edit, size: int) -> None:
    rendered = document(f"limits: {{request_bytes: {size}}}")
    assert rendered["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] == 65_536
    assert cluster(rendered, "bedrock")["per_connection_buffer_limit_bytes"] == 32_768


def test_connections_are_accepted_between_other_work(document: Edit) -> None:
    assert document()["static_resources"]["listeners"][0]["max_connections_to_accept_per_socket_event"] == 1


def test_the_largest_limit_fits(document: Edit) -> None:
    rendered = document("limits: {request_bytes: 536870912}")
    assert max(every(rendered, "per_connection_buffer_limit_bytes")) < 2**32


@pytest.mark.parametrize(("files", "limit"), [({}, 20_000), ({"files": 1024}, 384)])
def test_connections_are_limited_by_the_open_files(document: Edit, files: dict[str, int], limit: int) -> None:
    assert one(document(**files), "max_active_downstream_connections") == str(limit)


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


# Failing closed


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


def test_the_worker_writes_in_envoys_own_namespace_where_it_is_to(document: Edit) -> None:
    written = one(document("{usage: {envoy_ai: true}}"), "receiving_namespaces")
    assert written == {"untyped": ["oai", "envoy.ai.token_usage"]}


def test_both_routes_of_a_call_have_the_same_limits(document: Edit) -> None:
    api, bedrock = (dict(routes(document())[name]) for name in ("api", "bedrock"))
    assert bedrock.pop("request_headers_to_remove") == ["x-forwarded-proto"]
    del bedrock["route"]["host_rewrite_literal"]
    for route in (api, bedrock):
        del route["name"], route["match"], route["route"]["cluster"]
    assert api == bedrock


def one_cluster(route: Any) -> str | None:
    name: str | None = route.get("route", {}).get("cluster")
    return name


def test_only_calls_that_cannot_have_begun_are_retried(document: Edit) -> None:
    retry_on = routes(document())["api"]["route"]["retry_policy"]["retry_on"]
    assert set(retry_on.split(",")) == {"connect-failure", "refused-stream", "reset-before-request"}


def test_every_reply_of_envoys_own_has_openais_shape(document: Edit) -> None:
    replies = one(document(), "mappers")
    for reply in replies:
        error = reply["body_format_override"]["json_format"]["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert "!('content-type' in response.headers" in one(reply, "expression"), "else it rewrites the worker's"
    assert one(replies[-1], "expression").endswith("&& (true)"), "the last one takes what is left"
    errors = [one(reply, "error") for reply in replies]
    assert all(error["code"] for error in errors if error["type"] == "server_error"), "clients switch on it"


# Bedrock


def test_bedrock_over_tls(document: Edit) -> None:
    section = cluster(document(ca_file="/my/ca.pem"), "bedrock")
    assert section["type"] == "LOGICAL_DNS"
    assert one(section, "trusted_ca") == {"filename": "/my/ca.pem"}
    assert one(section, "upstream_http_protocol_options") == {"auto_sni": True, "auto_san_validation": True}
    assert one(section, "socket_address") == {"address": AWS.host, "port_value": 443}


@pytest.mark.parametrize(("host", "kind"), [("127.0.0.1", "STATIC"), ("::1", "STATIC"), ("localhost", "LOGICAL_DNS")])
def test_bedrock_in_plain_http(document: Edit, host: str, kind: str) -> None:
    section = cluster(document(bedrock=Endpoint("http", host, 9000)), "bedrock")
    assert "transport_socket" not in section
    assert one(section, "explicit_http_config") == {"http_protocol_options": {}}
    assert section["type"] == kind
    assert one(section, "socket_address") == {"address": host, "port_value": 9000}


# Workers


def test_each_worker_is_an_endpoint(document: Edit) -> None:
    workers = (Address(path="/run/w0.sock"), Address(path="/run/w1.sock"))
    section = cluster(document(processors=workers), "processor")
    assert section["type"] == "STATIC"
    assert list(every(section, "pipe")) == [{"path": "/run/w0.sock"}, {"path": "/run/w1.sock"}]


def test_workers_that_have_a_name_are_looked_up(document: Edit) -> None:
    section = cluster(document(processors=(Address("oai", 9001),)), "processor")
    assert section["type"] == "STRICT_DNS"


def test_optional_parts_are_absent_by_default(document: Edit) -> None:
    rendered = document()
    assert "admin" not in rendered
    assert not list(every(rendered, "access_log"))


def test_the_access_log_and_the_admin_socket(document: Edit) -> None:
    rendered = document(access_log=True, admin=Address(path="/run/admin.sock"))
    assert rendered["admin"]["address"] == {"pipe": {"path": "/run/admin.sock", "mode": 0o660}}
    [log] = one(rendered, "access_log")
    assert log["typed_config"]["log_format"]["json_format"]["oai"] == "%DYNAMIC_METADATA(oai)%"


# Health, on its own listener


def health(document: Any) -> Any:
    [section] = [each for each in document["static_resources"]["listeners"] if each["name"] == "health"]
    return section


SERVED = {"health": Address("127.0.0.1", 8081), "admin": Address(path="/run/oai/admin.sock")}
"""What it takes for there to be `/metrics`."""


@pytest.mark.parametrize(
    ("settings", "plan"),
    [
        ("{}", {}),
        ("{}", {"health": SERVED["health"]}),
        ("{}", {"admin": SERVED["admin"]}),
        ("metrics: {usage: false}", SERVED),
    ],
)
def test_usage_is_counted_where_it_is_served_and_not_switched_off(
    document: Edit, settings: str, plan: dict[str, Any]
) -> None:
    rendered = document(settings, **plan)
    assert not list(every(rendered, "access_log"))
    assert not [key for key in rendered if key.startswith("stats_")]


def test_usage_is_counted_at_the_end_of_calls_with_a_record_in_series_that_are_bounded(document: Edit) -> None:
    rendered = document("metrics: {series: 7}", **SERVED)
    loggers = one(rendered, "access_log")
    assert loggers == fragment("metrics", settings="metrics: {series: 7}")
    for logger in loggers:
        at_the_end, *recorded = logger["filter"]["and_filter"]["filters"]
        assert at_the_end == {"log_type_filter": {"types": ["DownstreamEnd"]}}
        assert {each["match_if_key_not_found"] for each in every(recorded, "metadata_filter")} == {False}
        # With `sharing_name` Envoy crashes when it ends.
        assert one(logger, "stats_scope") == {
            "prefix": "oai",
            "max_counters": 7,
            "max_histograms": 7,
            "enable_eviction": True,
        }
    flush, eviction = (float(rendered[f"stats_{name}_interval"].rstrip("s")) for name in ("flush", "eviction"))
    assert eviction % flush == 0
    assert eviction > 24 * 3600, "the queries of docs/operations.md compare values of a day"


def test_an_operator_may_have_the_fragment_without_metrics() -> None:
    assert fragment("metrics", settings="metrics: {usage: false}") == []


def test_a_ledger_is_one_more_logger_with_or_without_metrics(document: Edit) -> None:
    for settings in ("{ledger: /var/usage.jsonl}", "{ledger: /var/usage.jsonl}, metrics: {usage: false}"):
        [logger] = [
            each
            for each in one(document(f"{{usage: {settings}}}"), "access_log")
            if each["name"] == "envoy.access_loggers.file"
        ]
        assert logger == fragment("metrics", settings=f"{{usage: {settings}}}")[-1]
        assert logger["typed_config"]["path"] == "/var/usage.jsonl"


def test_a_collector_gets_what_the_file_gets(document: Edit) -> None:
    settings = "{usage: {otlp: {endpoint: 'http://[::1]:4317/'}}}"
    rendered = document(settings)
    [logger] = [each for each in one(rendered, "access_log") if "open_telemetry" in each["name"]]
    assert logger == fragment("metrics", settings=settings)[-1]
    [in_file] = every(fragment("metrics", settings="{usage: {ledger: /a}}")[-1], "json_format")
    named = [each["key"] for each in logger["typed_config"]["attributes"]["values"]]
    assert sorted(named) == sorted(in_file)
    [endpoint] = every(cluster(rendered, "usage_collector"), "socket_address")
    assert endpoint == {"address": "::1", "port_value": 4317}


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
    assert [limit.get("apply_on_stream_done") for limit in report["rate_limits"]] == [True, True]
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


def test_no_metric_has_a_callers_words(document: Edit) -> None:
    tags = {tag["value_format"] for tags in every(document(**SERVED), "tags") for tag in tags}
    named = {tag for tag in tags if "%" in tag}
    fields = ("organisation", "known_model", "finish", "estimated", "budget_warned")
    assert named == {"%RESPONSE_CODE%", *(f"%DYNAMIC_METADATA(oai:{name})%" for name in fields)}


CALLS = {"processor", "bedrock", "unprocessed"}
"""The clusters of callers' requests."""


def clusters(document: Any) -> set[str]:
    return {each["name"] for each in document["static_resources"]["clusters"]}


def test_without_an_address_there_is_no_listener_for_health(document: Edit) -> None:
    rendered = document(admin=Address(path="/run/oai/admin.sock"))
    assert [each["name"] for each in rendered["static_resources"]["listeners"]] == ["oai"]
    assert clusters(rendered) == CALLS


def test_health_checks_are_not_counted_among_callers(document: Edit) -> None:
    rendered = document(health=Address("127.0.0.1", 8081))
    assert one(health(rendered), "stat_prefix") != "oai"
    assert health(rendered)["ignore_global_conn_limit"] is True
    assert [each["name"] for each in one(health(rendered), "http_filters")] == [
        "envoy.filters.http.health_check",
        "envoy.filters.http.router",
    ]


@pytest.mark.parametrize(
    ("admin", "served"),
    [
        (None, set()),
        (Address("127.0.0.1", 9901), {"/metrics"}),
        (Address(path="/run/oai/admin.sock"), {"/metrics", "/drained"}),
    ],
)
def test_metrics_and_drained_are_where_there_is_an_admin_interface(
    document: Edit, admin: Address | None, served: set[str]
) -> None:
    rendered = document(health=Address("127.0.0.1", 8081), admin=admin)
    assert {match["path"] for match in every(health(rendered), "match") if "path" in match} == served
    led_to = {route["cluster"] for route in every(health(rendered), "route")}
    assert led_to == clusters(rendered) - CALLS


def test_the_drain_is_beside_the_admin_interface(document: Edit) -> None:
    rendered = document(health=Address("127.0.0.1", 8081), admin=Address(path="/run/x/admin.sock"))
    assert one(cluster(rendered, "drain"), "pipe") == {"path": "/run/x/drain.sock"}
    assert one(cluster(rendered, "admin"), "pipe") == {"path": "/run/x/admin.sock"}


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


# Fragments


def fragment(only: Fragment, settings: str = "{}", **changes: Any) -> list[Any]:
    values = {"listen": Address("127.0.0.1", 8080), "processors": (Address(path="/run/w0.sock"),), "bedrock": AWS}
    plan = EnvoyPlan(**{**values, **changes}, settings=config.parse(settings.encode()))
    parsed: list[Any] = yaml.safe_load(render(plan, only=only))
    assert json.loads(render(plan, only=only, as_json=True)) == parsed
    return parsed


def test_fragments_are_parts_of_the_bootstrap(document: Edit) -> None:
    whole = document()
    assert fragment("filter") == one(whole["static_resources"]["listeners"][0], "http_filters")[1:-1]
    assert fragment("cluster") == whole["static_resources"]["clusters"]
    assert fragment("route") == [routes(whole)["bedrock"], routes(whole)["api"]]


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        (AWS, AWS.host),
        (Endpoint("http", "127.0.0.1", 9000), "127.0.0.1:9000"),
        (Endpoint("https", "::1", 443), "[::1]"),
    ],
)
def test_the_route_writes_the_host_that_is_signed(endpoint: Endpoint, host: str) -> None:
    """Before that the host is the caller's, by which Envoy selects the virtual host."""
    bedrock, api = fragment("route", bedrock=endpoint)
    assert bedrock["route"]["host_rewrite_literal"] == host == endpoint.authority
    assert "host_rewrite_literal" not in api["route"]
    [ext_proc] = fragment("filter")
    assert one(ext_proc, "disallow_expression") == {"regex": "^:authority$"}


def test_only_with_the_key_has_an_address_a_limit(document: Edit) -> None:
    assert "oai-address-limit" not in json.dumps([document(), fragment("filter"), fragment("route")])
    settings = "limits: {address_requests_per_second: 7}"
    assert (
        fragment("filter", settings)
        == one(document(settings)["static_resources"]["listeners"][0], "http_filters")[1:-1]
    )
    names = ["oai-address-limit", "oai-address-limit-route", "oai-extproc"]
    assert [each["name"] for each in fragment("filter", settings)] == names
    *_, route = fragment("route", settings)
    limit = route["typed_per_filter_config"]["oai-address-limit"]["config"]
    assert [each["token_bucket"]["tokens_per_fill"] for each in limit["descriptors"]] == [7]
    assert [each["token_bucket"]["max_tokens"] for each in limit["descriptors"]] == [35]
    assert limit["max_dynamic_descriptors"] == 10_000


CORS = "cors: {origins: [https://chat.example.com]}"


def test_only_with_the_key_is_there_cors(document: Edit) -> None:
    assert "cors" not in json.dumps([document(), *map(fragment, get_args(Fragment))])
    filters = one(document(CORS)["static_resources"]["listeners"][0], "http_filters")
    assert [each["name"] for each in fragment("filter", CORS)] == ["oai-cors", "oai-extproc"]
    assert fragment("filter", CORS) == filters[1:-1]
    both = fragment("filter", CORS + "\nlimits: {address_requests_per_second: 7}")
    names = ["oai-cors", "oai-address-limit", "oai-address-limit-route", "oai-extproc"]
    assert [each["name"] for each in both] == names, "a 429 has it, too"


def test_the_route_beyond_the_limit_by_address_leads_nowhere_and_stands_before_the_apis() -> None:
    limited = fragment("route", f"{CORS}\nlimits: {{address_requests_per_second: 7}}")
    assert [each["name"] for each in limited] == ["preflight", "over-limit", "bedrock", "api"]
    over = limited[1]
    assert "route" not in over
    assert "redirect" not in over
    assert over["direct_response"]["status"] == 429
    [[name, switch]] = over["typed_per_filter_config"].items()
    assert (name, switch["disabled"]) == ("oai-extproc", True)


def test_a_preflight_has_a_route_without_a_worker_before_the_others(document: Edit) -> None:
    first, *others = fragment("route", CORS)
    assert [first["name"], *(route["name"] for route in others)] == ["preflight", "bedrock", "api"]
    assert list(routes(document(CORS))) == ["health", "preflight", "bedrock", "api", "elsewhere"]
    assert first["typed_per_filter_config"].keys() == {"oai-cors"}
    assert one_cluster(first) == "unprocessed"
    assert {each["name"] for each in first["match"]["headers"]} == {
        ":method",
        "origin",
        "access-control-request-method",
    }


def test_all_routes_for_pages_have_the_same_policy(document: Edit) -> None:
    policies = [
        route["typed_per_filter_config"]["oai-cors"]["config"]
        for name, route in routes(document(CORS)).items()
        if name != "health"
    ]
    assert all(policy == policies[0] for policy in policies)
    assert policies[0]["allow_origin_string_match"] == [{"exact": "https://chat.example.com"}]
    assert "allow_credentials" not in policies[0]


def test_a_rejected_preflight_is_no_absent_worker() -> None:
    """Its cluster has no endpoint either."""
    _, preflight, processor = fragment("reply", CORS)
    assert "xds.route_name == 'preflight'" in one(preflight, "expression")
    assert (preflight["status_code"], processor["status_code"]) == (403, 503)


def test_pages_may_read_every_header_that_the_gateway_sends() -> None:
    """Names of our own, of OpenAI's, and of retries, wherever they stand in the code."""
    root = Path(envoy_config.__file__).parents[1]
    texts = [path.read_text() for path in root.rglob("*.py") if path.parent.name in ("exchange", "openai", "translate")]
    names = {
        name
        for text in texts
        for name in re.findall(r"\"((?:x-oai-|openai-|x-ratelimit-|retry-|x-should-|x-request-)[a-z-]+)\"", text)
    }
    assert {"x-request-id", "retry-after", "x-oai-ignored-params", "openai-organization", "x-should-retry"} <= names
    assert names <= {*EXPOSED}


def test_only_with_the_key_are_proxies_trusted(document: Edit) -> None:
    assert "xff_num_trusted_hops" not in json.dumps(document())
    assert one(document("trusted_hops: 2"), "xff_num_trusted_hops") == 2


def test_the_route_brings_its_own_limit_of_bodies() -> None:
    both = fragment("route", "limits: {request_bytes: 1000000}")
    assert [int(route["request_body_buffer_limit"]) for route in both] == [1_250_000, 1_250_000]


def test_the_worker_may_remove_callers_headers_to_envoy() -> None:
    [ext_proc] = fragment("filter")
    rules = {"allow_all_routing": True, "allow_envoy": True, "disallow_expression": {"regex": "^:authority$"}}
    assert one(ext_proc, "mutation_rules") == rules


def test_replies_for_an_envoy_of_ones_own_touch_only_ours() -> None:
    workers, processor = fragment("reply")
    assert workers.keys() == {"filter"}, "the worker's answers stay"
    assert "ext_proc_error" in one(processor, "expression")
    assert one(processor, "json_format")["error"]["code"] == "processor_unavailable"


# TLS to workers


def test_workers_on_tcp_prove_their_names(document: Edit) -> None:
    workers = (Address("10.0.0.1", 9001), Address("worker.test", 9001), Address("worker.test", 9002))
    section = cluster(
        document(processors=workers, processor_tls=ProcessorTls("/ca.pem", "/c.pem", "/k.pem")), "processor"
    )
    assert one(section, "trusted_ca") == {"filename": "/ca.pem"}
    assert one(section, "certificate_chain") == {"filename": "/c.pem"}
    assert one(section, "private_key") == {"filename": "/k.pem"}
    assert one(section, "alpn_protocols") == ["h2"]
    names = {(each["san_type"], each["matcher"]["exact"]) for each in one(section, "match_typed_subject_alt_names")}
    assert names == {("IP_ADDRESS", "10.0.0.1"), ("DNS", "worker.test")}


def test_a_configured_name_is_the_only_one(document: Edit) -> None:
    tls = ProcessorTls("/ca.pem", name="oai.test")
    section = cluster(document(processors=(Address("10.0.0.1", 9001),), processor_tls=tls), "processor")
    assert one(section, "match_typed_subject_alt_names") == [{"san_type": "DNS", "matcher": {"exact": "oai.test"}}]
    assert one(section, "sni") == "oai.test"
    assert not list(every(section, "tls_certificates"))


def test_secrets_are_followed_and_names_are_checked_all_the_same(document: Edit) -> None:
    tls = ProcessorTls("/tls/ca.pem", "/tls/c.pem", "/tls/k.pem", secrets="/sds")
    whole = document(processors=(Address("worker.test", 9001),), processor_tls=tls)
    section = cluster(whole, "processor")
    assert one(section, "match_typed_subject_alt_names") == [{"san_type": "DNS", "matcher": {"exact": "worker.test"}}]
    assert one(section, "alpn_protocols") == ["h2"]
    assert not list(every(section, "trusted_ca"))
    assert set(every(section, "path")) == {"/sds/processor-ca.yaml", "/sds/processor-certificate.yaml"}
    assert whole["node"] == {"id": "oai-gateway", "cluster": "oai-gateway"}, "without it Envoy does not start"
    for kind in get_args(SecretKind):
        [secret] = yaml.safe_load(render_secret(tls, kind))["resources"]
        assert secret["name"] in set(every(section, "name"))


def test_without_a_certificate_of_envoys_there_is_no_secret_for_it(document: Edit) -> None:
    tls = ProcessorTls("/tls/ca.pem", secrets="/sds")
    section = cluster(document(processors=(Address("worker.test", 9001),), processor_tls=tls), "processor")
    assert list(every(section, "path")) == ["/sds/processor-ca.yaml"]


# TLS of callers


def test_callers_have_http2_and_http1_over_tls(document: Edit) -> None:
    [chain] = document(callers_tls=CallersTls("/c.pem", "/k.pem"))["static_resources"]["listeners"][0]["filter_chains"]
    assert one(chain["transport_socket"], "alpn_protocols") == ["h2", "http/1.1"]
    assert not list(every(chain["transport_socket"], "require_client_certificate"))
    assert chain["transport_socket_connect_timeout"] == "15s"


def test_a_connection_without_a_handshake_is_found(document: Edit) -> None:
    rendered = document(callers_tls=CallersTls("/c.pem", "/k.pem"))
    [inspector] = one(rendered, "listener_filters")
    assert inspector["name"].endswith("tls_inspector")
    assert one(rendered, "listener_filters_timeout") == "15s"


def test_an_envoy_that_follows_callers_files_has_a_name(document: Edit) -> None:
    tls = CallersTls("/tls/c.pem", "/tls/k.pem", "/ca/ca.pem", secrets="/sds")
    rendered = document(callers_tls=tls)
    assert rendered["node"]
    listener = rendered["static_resources"]["listeners"][0]
    assert list(every(one(listener, "transport_socket"), "path")) == ["/sds/tls.yaml", "/sds/tls-client-ca.yaml"]
    for kind, folder in (("tls", "/tls"), ("tls-client-ca", "/ca")):
        [secret] = yaml.safe_load(render_callers_secret(tls, kind))["resources"]
        assert secret["name"] == kind
        assert one(secret, "watched_directory") == {"path": folder}


def test_files_in_several_folders_are_watched_where_they_are() -> None:
    """Without a folder Envoy watches those of all files."""
    secret = render_callers_secret(CallersTls("/certs/c.pem", "/private/k.pem", secrets="/sds"), "tls")
    assert "watched_directory" not in secret


# The rendering itself


def test_json_and_yaml_are_the_same_document() -> None:
    plan = EnvoyPlan(Address("0.0.0.0", 80), (Address(path="/w"),), AWS, config.Settings(), access_log=True)
    assert json.loads(render(plan, as_json=True)) == yaml.safe_load(render(plan))


def test_the_typed_messages_are_only_imported_to_render() -> None:
    code = "import sys, extproc.cli, extproc.stack.stack; print([n for n in sys.modules if n.startswith('envoy_data')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# Signed tokens

ISSUERS = """
jwt:
- {issuer: "https://a/", audiences: [api, web], jwks_uri: "https://a.example.com/keys", organisation: org}
- {issuer: "https://b/", audiences: [api], jwks_uri: "http://127.0.0.1:9/keys", organisation: org, refresh_seconds: 60}
"""


def jwt_filter(document: Any) -> Any:
    [found] = [each for each in every(document, "typed_config") if "JwtAuthentication" in each["@type"]]
    return found


def test_without_issuers_nothing_is_rendered(document: Edit) -> None:
    text = json.dumps(document())
    assert "jwt" not in text
    assert "jwks" not in text
    assert "forwarding_namespaces" not in text


def test_signed_tokens_are_verified_before_the_worker_is_asked(document: Edit) -> None:
    rendered = document(ISSUERS)
    names = [each["name"] for each in next(every(rendered, "http_filters"))]
    assert names.index("oai-jwt") + 1 == names.index("oai-extproc")
    assert one(rendered, "forwarding_namespaces") == {"untyped": ["envoy.filters.http.jwt_authn"]}
    assert one(rendered, "receiving_namespaces") == {"untyped": ["oai"]}


def test_a_token_needs_issuer_audience_and_end_and_stands_in_one_place(document: Edit) -> None:
    providers = jwt_filter(document(ISSUERS))["providers"]
    assert {each["issuer"]: each["audiences"] for each in providers.values()} == {
        "https://a/": ["api", "web"],
        "https://b/": ["api"],
    }
    for provider in providers.values():
        assert provider["require_expiration"] is True
        assert provider["from_headers"] == [{"name": "Authorization", "value_prefix": "Bearer "}]
        assert provider["forward"] is True
        assert not {"from_params", "from_cookies", "claim_to_headers", "forward_payload_header"} & provider.keys()


def test_api_keys_and_other_paths_pass_the_filter_without_work(document: Edit) -> None:
    [rule] = jwt_filter(document(ISSUERS))["rules"]
    assert rule["match"]["path_separated_prefix"] == "/oai/v1"
    assert rule["match"]["headers"] == [{"name": "authorization", "string_match": {"prefix": "Bearer ey"}}]


def test_keys_come_by_tls_and_a_few_at_a_time(document: Edit) -> None:
    rendered = document(ISSUERS)
    first, second = cluster(rendered, "jwks-0"), cluster(rendered, "jwks-1")
    assert one(first["transport_socket"], "trusted_ca") == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
    assert one(first, "upstream_http_protocol_options") == {"auto_sni": True, "auto_san_validation": True}
    assert "transport_socket" not in second
    for each in (first, second):
        [threshold] = one(each, "thresholds")
        assert set(threshold.values()) == {8}
    caches = [provider["remote_jwks"]["cache_duration"] for provider in jwt_filter(rendered)["providers"].values()]
    assert caches == ["300s", "60s"]


def test_keys_behind_a_proxy_have_a_tunnel_of_their_own(document: Edit) -> None:
    proxy = Proxy(Address("proxy.example", 3128), "Basic c2VjcmV0")
    rendered = document(ISSUERS, jwks_proxies={"https://a.example.com": proxy})
    [tunnel] = [each for each in rendered["static_resources"]["listeners"] if each["name"] == "jwks-0-tunnel"]
    assert one(tunnel, "tunneling_config")["hostname"] == "a.example.com:443"
    assert one(cluster(rendered, "jwks-0"), "server_listener_name") == "jwks-0-tunnel"
    assert "envoy_internal_address" not in json.dumps([cluster(rendered, "bedrock"), cluster(rendered, "jwks-1")])
    assert cluster(rendered, "bedrock-proxy")
    assert "c2VjcmV0" not in json.dumps(rendered)
    assert rendered["bootstrap_extensions"]


@pytest.mark.parametrize("word", ["y", "n", "Y", "N", "yes", "on", "12", "null", "~", "1e5", "0x1F"])
def test_a_text_stays_a_text_for_envoys_reader_of_yaml(word: str) -> None:
    issuer = JwtIssuer(word, (word, "api"), "https://a/keys", "org")
    plan = EnvoyPlan(Address("127.0.0.1", 8080), (Address(path="/run/w0.sock"),), AWS, config.Settings(jwt=(issuer,)))
    assert re.search(rf"issuer: '{re.escape(word)}'|issuer: 1e5", render(plan))

"""Envoy Gateway's translation of overlays/envoy-gateway, as far as a request to the gateway meets it.

Listener, filter, route and clusters are as in the golden files of its xDS translator (internal/xds/translator/testdata:
ext-proc, client-buffer-limit, ext-proc-with-traffic-settings), its defaults included: 32 KiB of buffer, slashes
unescaped and redirected, headers with underscores rejected, 10 s for the gRPC service. The external processor has no
mutation rules, no maximum for a message's timeout, no control of content-length; the filter is off, and on for the
route.
"""

from typing import Any

import yaml

from tests.deploy.conftest import Object, Objects
from tests.deploy.meshes import (
    HCM,
    HTTP_OPTIONS,
    ROUTER,
    UPSTREAM_TLS,
    Proto,
    Surroundings,
    bootstrap,
    certificate,
    endpoints,
)

EXT_PROC = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
UNITS = {"Ki": 1024, "Mi": 1024**2}
BODIES = {
    "Streamed": "STREAMED",
    "Buffered": "BUFFERED",
    "BufferedPartial": "BUFFERED_PARTIAL",
    "FullDuplexStreamed": "FULL_DUPLEX_STREAMED",
}


def gateway(objects: Objects, around: Surroundings) -> Proto:
    """The bootstrap of the gateway's Envoys."""
    policy, route = objects.one("EnvoyExtensionPolicy"), objects.one("HTTPRoute")
    assert [(each["kind"], each["name"]) for each in policy["spec"]["targetRefs"]] == [("HTTPRoute", "oai")]
    (processor,) = policy["spec"]["extProc"]
    api, rule = route["spec"]["rules"]
    names = _name(policy, "extproc"), _name(route, "rule").replace("rule/0", "rule/1")
    filter_name = f"envoy.filters.http.ext_proc/{names[0]}"
    traffic = objects.one("BackendTrafficPolicy")["spec"]
    listener = _listener(objects, around)
    manager = listener["default_filter_chain"]["filters"][0]["typed_config"]
    manager["http_filters"].insert(0, _ext_proc(filter_name, names[0], processor))
    filters = {each["metadata"]["name"]: each["spec"] for each in objects.of("HTTPRouteFilter")}
    host = f"localhost:{around.places['localhost'][1]}"
    routes = [
        _route(rule, filters, filter_name, host, _action(rule, traffic, names[1])),
        _route(api, filters, filter_name, host, {}),
    ]
    manager["route_config"] = _route_configuration(routes)
    clusters = [
        _cluster(names[0], _backend(objects, processor["backendRefs"]), processor["backendSettings"], around),
        _cluster(names[1], _backend(objects, rule["backendRefs"]), traffic, around),
    ]
    clusters[0]["typed_extension_protocol_options"] = _http2(processor["backendSettings"])
    whole = bootstrap(listener, clusters, {"re2.max_program_size.warn_level": 1000})
    whole["layered_runtime"]["layers"] += _added_layers(objects)
    return whole


def _added_layers(objects: Objects) -> list[Proto]:
    """Add the bootstrap of the Gateway's EnvoyProxy: protobuf's merge appends to lists."""
    (reference,) = [objects.one("Gateway")["spec"]["infrastructure"]["parametersRef"]]
    proxy = objects.one("EnvoyProxy", reference["name"])["spec"]["bootstrap"]
    assert proxy["type"] == "Merge"
    added = yaml.safe_load(proxy["value"])
    assert added.keys() == {"layered_runtime"}
    layers: list[Proto] = added["layered_runtime"]["layers"]
    return layers


def _name(owner: Object, part: str) -> str:
    return f"{owner['kind'].lower()}/{owner['metadata']['namespace']}/{owner['metadata']['name']}/{part}/0"


def _listener(objects: Objects, around: Surroundings) -> Proto:
    """By the Gateway and its ClientTrafficPolicy."""
    policy = objects.one("ClientTrafficPolicy")["spec"]
    slashes = {"KeepUnchanged": "KEEP_UNCHANGED", "UnescapeAndRedirect": "UNESCAPE_AND_REDIRECT"}
    times = policy.get("timeout", {}).get("http", {})
    manager = {
        "@type": HCM,
        "stat_prefix": "http-10080",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http2_protocol_options": {
            "initial_connection_window_size": 1048576,
            "initial_stream_window_size": 65536,
            "max_concurrent_streams": 100,
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": ROUTER, "suppress_envoy_headers": True},
            }
        ],
        "merge_slashes": True,
        "normalize_path": True,
        "path_with_escaped_slashes_action": slashes[
            policy.get("path", {}).get("escapedSlashesAction", "UnescapeAndRedirect")
        ],
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "request_timeout": times["requestReceivedTimeout"],
        "stream_idle_timeout": times["streamIdleTimeout"],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": "oai-gateway/oai/http",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": around.port}},
        "per_connection_buffer_limit_bytes": _bytes(policy.get("connection", {}).get("bufferLimit", "32Ki")),
        "default_filter_chain": {"filters": filters},
    }


def _ext_proc(name: str, cluster: str, policy: Any) -> Proto:
    """The filter. Headers are sent where the direction's block is there; full duplex brings trailers along."""
    mode = policy["processingMode"]
    config = {
        "@type": EXT_PROC,
        "grpc_service": {
            "envoy_grpc": {"cluster_name": cluster, "authority": "oai-extproc.oai-gateway:9443"},
            "timeout": "10s",
            "retry_policy": _retries(policy["backendSettings"]["retry"]),
        },
        "failure_mode_allow": policy["failOpen"],
        "status_on_error": {"code": policy["statusOnError"]},
        "message_timeout": policy["messageTimeout"],
        "processing_mode": _direction("request", mode) | _direction("response", mode),
        "response_attributes": mode["response"]["attributes"],
        "metadata_options": {"receiving_namespaces": {"untyped": policy["metadata"]["writableNamespaces"]}},
    }
    return {"name": name, "disabled": True, "typed_config": config}


def _direction(direction: str, mode: Any) -> Proto:
    body = BODIES[mode[direction]["body"]]
    return {
        f"{direction}_header_mode": "SEND",
        f"{direction}_body_mode": body,
        f"{direction}_trailer_mode": "SEND" if body == "FULL_DUPLEX_STREAMED" else "SKIP",
    }


def _route_configuration(routes: list[Proto]) -> Proto:
    host = {"name": "oai-gateway/oai/http/*", "domains": ["*"], "routes": routes}
    return {"name": "oai-gateway/oai/http", "virtual_hosts": [host], "ignore_port_in_host_matching": True}


def _action(rule: Any, traffic: Any, cluster: str) -> Proto:
    times = traffic["timeout"]["http"]
    return {
        "cluster": cluster,
        "timeout": rule["timeouts"]["request"],
        "idle_timeout": times["streamIdleTimeout"],
        "max_stream_duration": {"max_stream_duration": times["maxStreamDuration"]},
        "retry_policy": _retries(traffic["retry"]),
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }


def _route(rule: Any, filters: Any, filter_name: str, host: str, action: Proto) -> Proto:
    (match,) = rule["matches"]
    assert match["path"]["type"] == "PathPrefix"
    headers = [{"name": each["name"], "string_match": {"exact": each["value"]}} for each in match.get("headers", [])]
    route: Proto = {
        "match": {"path_separated_prefix": match["path"]["value"], "headers": headers},
        "typed_per_filter_config": {
            filter_name: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
        },
    }
    if action:
        route["route"] = action
    for each in rule["filters"]:
        _filter(each, filters, host, route)
    return route


def _filter(entry: Any, filters: Any, host: str, route: Proto) -> None:
    """Add one filter of an HTTPRoute's rule. The Backend's host has a port here."""
    match entry["type"]:
        case "ExtensionRef":
            extension = filters[entry["extensionRef"]["name"]]
            if "urlRewrite" in extension:
                assert extension == {"urlRewrite": {"hostname": {"type": "Backend"}, "appendXForwardedHost": False}}
                route["route"]["host_rewrite_literal"] = host
                return
            fixed = extension["directResponse"]
            route["direct_response"] = {
                "status": fixed["statusCode"],
                "body": {"inline_string": fixed["body"]["inline"]},
            }
            added = [("content-type", fixed["contentType"]), *((e["name"], e["value"]) for e in fixed["header"]["set"])]
            route["response_headers_to_add"] = [
                {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                for name, value in added
            ]
        case "RequestHeaderModifier":
            route["request_headers_to_remove"] = entry["requestHeaderModifier"]["remove"]
        case other:
            raise AssertionError(f"no test knows what Envoy Gateway makes of {other}")


def _retries(policy: Any) -> Proto:
    return {"num_retries": policy["numRetries"], "retry_on": ",".join(policy["retryOn"]["triggers"])}


def _backend(objects: Objects, references: Any) -> Any:
    (reference,) = references
    assert (reference["group"], reference["kind"]) == ("gateway.envoyproxy.io", "Backend")
    return objects.one("Backend", reference["name"])["spec"]


def _cluster(name: str, backend: Any, settings: Any, around: Surroundings) -> Proto:
    """STATIC where Envoy Gateway has STRICT_DNS: the name is resolved here."""
    ((_, endpoint),) = ((kind, each[kind]) for each in backend["endpoints"] for kind in each)
    breaker = settings["circuitBreaker"]
    limits = {"max_connections": "maxConnections", "max_requests": "maxParallelRequests"}
    limits |= {"max_pending_requests": "maxPendingRequests", "max_retries": "maxParallelRetries"}
    cluster: Proto = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": settings.get("timeout", {}).get("tcp", {}).get("connectTimeout", "10s"),
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": _bytes(settings.get("connection", {}).get("bufferLimit", "32Ki")),
        "circuit_breakers": {
            "thresholds": [{"max_retries": 1024} | {our: breaker[its] for our, its in limits.items() if its in breaker}]
        },
        "load_assignment": endpoints(name, around.address(endpoint["hostname"])),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(backend["tls"], around)},
    }
    if "healthCheck" in settings:
        cluster |= _health(settings["healthCheck"])
    return cluster


def _tls(tls: Any, around: Surroundings) -> Proto:
    """Return the TLS settings; the SNI is the name that the certificate must have."""
    if "wellKnownCACertificates" in tls:
        authority = around.authorities
    else:
        (reference,) = tls["caCertificateRefs"]
        authority = around.secrets[reference["name"]] / "ca.crt"
    name = {"san_type": "DNS", "matcher": {"exact": tls["sni"]}}
    common: Proto = {
        "validation_context": {
            "trusted_ca": {"filename": str(authority)},
            "match_typed_subject_alt_names": [name],
        }
    }
    if "alpnProtocols" in tls:
        common["alpn_protocols"] = tls["alpnProtocols"]
    if "clientCertificateRef" in tls:
        common["tls_certificates"] = [certificate(around.secrets[tls["clientCertificateRef"]["name"]])]
    return {"@type": UPSTREAM_TLS, "sni": tls["sni"], "common_tls_context": common}


def _health(policy: Any) -> Proto:
    active = policy["active"]
    assert active["type"] == "GRPC"
    check = {
        "timeout": active["timeout"],
        "interval": "0.500s" if active["interval"] == "500ms" else active["interval"],
        "unhealthy_threshold": active["unhealthyThreshold"],
        "healthy_threshold": active["healthyThreshold"],
        "grpc_health_check": {},
    }
    panic = {"healthy_panic_threshold": {"value": policy["panicThreshold"]}}
    return {"health_checks": [check], "common_lb_config": panic}


def _http2(settings: Any) -> Proto:
    windows = settings["http2"]
    options = {
        "initial_stream_window_size": _bytes(windows["initialStreamWindowSize"]),
        "initial_connection_window_size": _bytes(windows["initialConnectionWindowSize"]),
    }
    return {
        HTTP_OPTIONS: {
            "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": options},
        }
    }


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]

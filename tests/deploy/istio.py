"""Istio's translation of overlays/istio, as far as a request to the gateway meets it.

The ingress gateway's own listener, route and cluster are written down here as istiod generates them; the patches of the
EnvoyFilter are applied by istiod's rules (pilot/pkg/networking/core/envoyfilter): matching by context, port, filter and
route name, and protobuf's merge, which appends to lists. A patch that meets nothing is a failure. Secrets that Envoy
would fetch from istiod are in the bootstrap under the names that it would request.
"""

import copy
import re
from typing import Any

import yaml

from tests.deploy.conftest import ROOT, Objects
from tests.deploy.meshes import (
    HCM,
    ROUTER,
    Proto,
    Surroundings,
    bootstrap,
    certificate,
)


def gateway(objects: Objects, around: Surroundings) -> Proto:
    """The ingress gateway's bootstrap."""
    server = objects.one("Gateway")["spec"]["servers"][0]
    listener = _listener(server, objects.one("VirtualService")["spec"], around)
    clusters: list[Proto] = []
    spec = objects.one("EnvoyFilter")["spec"]
    assert spec["workloadSelector"]["labels"] == objects.one("Gateway")["spec"]["selector"]
    for patch in spec["configPatches"]:
        assert patch["match"]["context"] == "GATEWAY"
        _apply(patch, listener, clusters, server["port"]["number"])
    for cluster in clusters:
        _resolve(cluster, around)
    return bootstrap(listener, _without_sds(clusters), _runtime(), _secrets(around))


def _runtime() -> Proto:
    """The flags that istio-agent puts into the bootstrap, as strings: those of the annotation in docs/kubernetes.md."""
    annotation = re.search(
        r"^ +proxy\.istio\.io/config: '(.*)'$", (ROOT / "docs" / "kubernetes.md").read_text(), re.MULTILINE
    )
    assert annotation is not None
    flags: Proto = yaml.safe_load(annotation[1])["runtimeValues"]
    assert all(isinstance(value, str) for value in flags.values())
    return flags


def _listener(server: Any, service: Any, around: Surroundings) -> Proto:
    """Of one server of a Gateway. The idle timeout of streams is off, as istiod has it."""
    manager = {
        "@type": HCM,
        "stat_prefix": "outbound_0.0.0.0_8080",
        "server_name": "istio-envoy",
        "use_remote_address": True,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            _filter("envoy.filters.http.fault", "fault.v3.HTTPFault"),
            _filter("envoy.filters.http.cors", "cors.v3.Cors"),
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
        ],
        "route_config": _routes(server, service),
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": "0.0.0.0_8080",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": around.port}},
        "filter_chains": [{"filters": filters}],
    }


def _filter(name: str, kind: str) -> Proto:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{kind}"}}


def _routes(server: Any, service: Any) -> Proto:
    number = server["port"]["number"]
    assert set(service["hosts"]) <= set(server["hosts"])
    hosts = [
        {
            "name": f"{host}:{number}",
            "domains": [host, f"{host}:*"],
            "include_request_attempt_count": True,
            "routes": [_route(rule, match) for rule in service["http"] for match in rule["match"]],
        }
        for host in service["hosts"]
    ]
    return {"name": f"http.{number}", "virtual_hosts": hosts, "validate_clusters": False}


def _route(rule: Any, match: Any) -> Proto:
    path = {"exact": "path", "prefix": "prefix"}
    ((kind, value),) = match["uri"].items()
    response, headers = rule["directResponse"], rule["headers"]["response"]["set"]
    return {
        "name": rule["name"],
        "match": {path[kind]: value, "case_sensitive": True},
        "direct_response": {"status": response["status"], "body": {"inline_string": response["body"]["string"]}},
        "response_headers_to_add": [
            {"header": {"key": name, "value": text}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, text in headers.items()
        ],
    }


# EnvoyFilter


def _apply(patch: Any, listener: Proto, clusters: list[Proto], number: int) -> None:
    """Apply one patch, which must meet something."""
    value, operation, match = copy.deepcopy(patch["patch"]["value"]), patch["patch"]["operation"], patch["match"]
    wanted = match.get("listener", {}).get("portNumber")
    assert wanted in (None, number), f"no server of the gateway has the port {wanted}"
    (network,) = listener["filter_chains"][0]["filters"]
    manager = network["typed_config"]
    match patch["applyTo"], operation:
        case "CLUSTER", "ADD":
            clusters.append(value)
        case "LISTENER", "MERGE":
            _merge(listener, value)
        case "HTTP_FILTER", "INSERT_BEFORE":
            wanted_filter = match["listener"]["filterChain"]["filter"]
            assert wanted_filter["name"] == network["name"]
            names = [each["name"] for each in manager["http_filters"]]
            manager["http_filters"].insert(names.index(wanted_filter["subFilter"]["name"]), value)
        case "HTTP_ROUTE", "INSERT_BEFORE":
            for host in manager["route_config"]["virtual_hosts"]:
                names = [route["name"] for route in host["routes"]]
                host["routes"].insert(names.index(match["routeConfiguration"]["vhost"]["route"]["name"]), value)
        case "NETWORK_FILTER", "MERGE":
            assert match["listener"]["filterChain"]["filter"]["name"] == network["name"]
            _merge(network, value)
        case other:
            raise AssertionError(f"no test knows how Istio does {other}")


def _merge(into: Proto, value: Proto) -> None:
    """As protobuf merges: messages field by field, lists one behind the other, all else replaced."""
    for key, new in value.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            _merge(old, new)
        elif isinstance(old, list):
            old.extend(new)
        else:
            into[key] = new


# Differences from a cluster


def _resolve(cluster: Proto, around: Surroundings) -> None:
    """Put an address in the place of a name, and this test's authority in the place of the system's."""
    cluster["type"] = "STATIC"
    common = cluster.get("transport_socket", {}).get("typed_config", {}).get("common_tls_context", {})
    if "validation_context" in common:
        assert common["validation_context"]["trusted_ca"] == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
        common["validation_context"]["trusted_ca"] = {"filename": str(around.authorities)}
    for locality in cluster.get("load_assignment", {}).get("endpoints", []):
        for each in locality["lb_endpoints"]:
            name = each["endpoint"]["address"]["socket_address"]["address"]
            each["endpoint"]["address"] = around.address(name)


def _without_sds(value: Any) -> Any:
    """Return the value without `sds_config`: a secret that has no other source is the bootstrap's own."""
    if isinstance(value, list):
        return [_without_sds(item) for item in value]
    if isinstance(value, dict):
        if "sds_config" in value:
            assert value["sds_config"] == {"ads": {}, "resource_api_version": "V3"}
        return {key: _without_sds(item) for key, item in value.items() if key != "sds_config"}
    return value


def _secrets(around: Surroundings) -> list[Proto]:
    """The names are istiod's: `-cacert` is the `ca.crt` of the same Secret."""
    secrets: list[Proto] = []
    for name, folder in around.secrets.items():
        authority = {"trusted_ca": {"filename": str(folder / "ca.crt")}}
        secrets.append({"name": f"kubernetes://{name}", "tls_certificate": certificate(folder)})
        secrets.append({"name": f"kubernetes://{name}-cacert", "validation_context": authority})
    return secrets

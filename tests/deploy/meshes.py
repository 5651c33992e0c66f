"""Parts that the translators of both meshes share.

The Envoy that they configure is real; names of the cluster are not. `Surroundings` holds where the test has put what a
name stands for, and the files that a Secret has become.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Proto = dict[str, Any]

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
UPSTREAM_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class Surroundings:
    """`port` is where callers come in; `places` are the addresses behind names; `secrets` are folders of files."""

    port: int
    places: Mapping[str, tuple[str, int]]
    secrets: Mapping[str, Path]
    authorities: Path

    def address(self, host: str) -> Proto:
        ip, port = self.places[host]
        return {"socket_address": {"address": ip, "port_value": port}}


def endpoints(name: str, address: Proto) -> Proto:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def certificate(folder: Path) -> Proto:
    """A TlsCertificate."""
    return {
        "certificate_chain": {"filename": str(folder / "tls.crt")},
        "private_key": {"filename": str(folder / "tls.key")},
    }


def bootstrap(listener: Proto, clusters: list[Proto], flags: Proto, secrets: list[Proto] | None = None) -> Proto:
    resources = {"listeners": [listener], "clusters": clusters, "secrets": secrets or []}
    runtime = {"layers": [{"name": "global_config", "static_layer": flags}]}
    return {"static_resources": resources, "layered_runtime": runtime}


def text(document: Proto) -> str:
    return json.dumps(document, indent=1)

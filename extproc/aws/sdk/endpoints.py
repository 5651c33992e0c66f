"""Bedrock's endpoints in one region: the runtime (`bedrock-runtime`) and the control plane (`bedrock`).

botocore resolves them, so every setting of AWS's own tools counts here too: `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`,
`AWS_ENDPOINT_URL_BEDROCK`, `AWS_ENDPOINT_URL`, the profile's `services` section, FIPS, dual stack, the partition.
Nothing goes over the network.

Invariant: `resolve` returns two endpoints of a scheme, a host and a port and nothing else, or raises `EndpointError`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session, get_session

from extproc.bedrock.endpoints import DEFAULT_PORTS, Endpoint, EndpointError, Endpoints, Scheme
from extproc.config.faults import nearest


def resolve(region: str | None = None, session: Session | None = None, elsewhere: Sequence[str] = ()) -> Endpoints:
    """Return Bedrock's endpoints in `region`, by default that of AWS's settings; raises `EndpointError`.

    Also those of the runtime in the regions `elsewhere`.

    A `session` that is used further has then read AWS's descriptions of these services.
    """
    try:
        session = session or get_session()
        name = region or settings_region(os.environ, session)
        if not name:
            raise EndpointError("no AWS region: set `region:` in gateway.yaml, or AWS_REGION in the environment")
        runtime = _url(session, "bedrock-runtime", name)
        control = _url(session, "bedrock", name)
        others = {other: _url(session, "bedrock-runtime", other) for other in elsewhere}
    except (BotoCoreError, ValueError) as error:
        raise EndpointError(f"AWS's settings do not give an endpoint for Bedrock: {error}") from error
    return Endpoints(
        region=name,
        runtime=_parse(runtime, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        control=_parse(control, "AWS_ENDPOINT_URL_BEDROCK"),
        elsewhere={other: _in_region(other, url) for other, url in others.items()},
    )


_AWS_NAMES = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


def _in_region(region: str, url: str) -> Endpoint:
    """Return the runtime's endpoint in one of several regions; raises `EndpointError`.

    A setting of AWS's for endpoints holds for all regions. So one that names another region's host would send there
    what must not leave this one.
    """
    endpoint = _parse(url, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
    labels = endpoint.host.split(".")
    if endpoint.host.endswith(_AWS_NAMES) and "bedrock" in endpoint.host and region not in labels:
        raise EndpointError(
            f"regions: {region} has the endpoint {endpoint}, another region's: AWS_ENDPOINT_URL_BEDROCK_RUNTIME "
            "(or AWS_ENDPOINT_URL, or the profile's endpoint_url) holds for all regions; unset it, and give private "
            "endpoints AWS's own names"
        )
    return endpoint


def resolve_table(region: str, session: Session | None = None) -> Endpoint:
    """Return DynamoDB's endpoint in `region`, which counts `AWS_ENDPOINT_URL_DYNAMODB`; raises `EndpointError`."""
    try:
        url = _url(session or get_session(), "dynamodb", region)
    except (BotoCoreError, ValueError) as error:
        raise EndpointError(f"AWS's settings do not give an endpoint for DynamoDB: {error}") from error
    return _parse(url, "AWS_ENDPOINT_URL_DYNAMODB", "DynamoDB")


def settings_region(environ: Mapping[str, str], session: Session) -> str | None:
    """Return the region of AWS's settings, None if they name none; raises `BotoCoreError` for a broken profile.

    `AWS_REGION` comes before botocore's own `AWS_DEFAULT_REGION` and the profile's `region`, as in every other AWS SDK.
    """
    region: str | None = (
        environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or session.get_config_variable("region")
    )
    return region


def unknown_region(endpoints: Endpoints) -> str | None:
    """Return a warning for a region that botocore does not know: it is misspelt, or newer than botocore."""
    region = endpoints.region
    known = _known_regions()
    if region in known or region not in endpoints.runtime.host:
        return None
    return f"the AWS region {region!r} is unknown{nearest(region, known)}"


def nearest_region(region: str) -> str:
    """Return words about a region that botocore does not know, "" for any other."""
    known = _known_regions()
    return "" if region in known else f". The AWS region {region!r} is unknown{nearest(region, known)}"


def _known_regions() -> set[str]:
    session = get_session()
    partitions = session.get_available_partitions()
    return {name for partition in partitions for name in session.get_available_regions("ec2", partition)}


def _url(session: Session, service: Literal["bedrock", "bedrock-runtime", "dynamodb"], region: str) -> str:
    """Return the service's URL. A client that signs would look for credentials first, over the network too."""
    client = session.create_client(service, region_name=region, config=Config(signature_version=UNSIGNED))
    url: str = client.meta.endpoint_url
    return url


def _parse(url: str, variable: str, service: str = "Bedrock") -> Endpoint:
    """Return the endpoint of a URL; `variable` is the setting that it most likely comes from."""
    where = f"the endpoint URL for {service} (from {variable}, AWS_ENDPOINT_URL or the profile's endpoint_url)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EndpointError(f"{where} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise EndpointError(f"{where} must be http://HOST:PORT or https://HOST:PORT")
    if parts.path.strip("/"):
        raise EndpointError(f"{where} has the path {parts.path!r}: {service}'s URLs have none, remove it")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise EndpointError(f"{where} has a user, a query or a fragment: keep only scheme, host and port")
    scheme: Scheme = "https" if parts.scheme == "https" else "http"
    return Endpoint(scheme, parts.hostname, port or DEFAULT_PORTS[scheme])

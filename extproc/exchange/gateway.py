"""The state that all exchanges of a worker share. Nothing here waits or does I/O.

Decision: docs/decisions.md, D215.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import Table
from extproc.bedrock.catalogue import Catalogue, Target, geography
from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.prices import NO_PRICES, PriceList
from extproc.bedrock.request_metadata import HEADER
from extproc.bedrock.sigv4 import Headers, Signer
from extproc.config import Organisation, Settings
from extproc.exchange.budget import Budget
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.local_replies import no_credentials, unknown_region
from extproc.openai.embeddings import Detokeniser
from extproc.tenancy.directory import Directory
from extproc.value import Value

PROJECT_HEADER = "x-amzn-bedrock-projectidentifier"
"""InvokeModel's `projectIdentifier`."""


class Place(Value, frozen=True):
    """Bedrock in another region: its models, the signer of its calls, and the host that this signs for."""

    catalogue: Catalogue
    signer: Signer
    authority: str


@dataclass(slots=True)
class Gateway:
    """The shared state. The worker replaces fields when gateway.yaml, the catalogue or the credentials change."""

    settings: Settings
    directory: Directory
    catalogue: Catalogue
    capabilities: Table
    signer: Signer
    authority: str
    """The host, and port where it is not the usual one, of Bedrock's runtime endpoint: what `signer` signs for."""
    identity: Callable[[], Credentials | BearerToken | None]
    """Return AWS credentials that are valid now, or None."""
    detokenise: Detokeniser
    """cl100k_base token ids to text."""
    budget: Budget
    """The bytes of requests in flight. It stays the same object: open exchanges release into it."""
    prices: PriceList = NO_PRICES
    mark_by_header: bool = False
    """Whether Envoy's routes match headers and no metadata, so that a header has to mark signed requests."""
    region: str = ""
    """The region that Envoy and side calls are told of, where it is not the gateway's own; else empty."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Bedrock in other regions, which organisations may name; the worker replaces it when one of them changes."""

    def of(self, organisation: Organisation) -> "Gateway":
        """Return the gateway as an organisation sees it: itself, or with another region's Bedrock.

        Raises a 503 `ApiError` for a region that Envoy has no way to: nothing is sent to another one instead.
        """
        region = organisation.region
        if region is None or region == self.catalogue.region:
            return self
        place = self.places.get(region)
        if place is None:
            raise unknown_region(region)
        return self._at(place)

    def _at(self, place: Place) -> "Gateway":
        """Return the gateway with another region's Bedrock, for one exchange."""
        return Gateway(
            settings=self.settings,
            directory=self.directory,
            catalogue=place.catalogue,
            capabilities=self.capabilities,
            signer=place.signer,
            authority=place.authority,
            identity=self.identity,
            detokenise=self.detokenise,
            budget=self.budget,
            mark_by_header=self.mark_by_header,
            region=place.catalogue.region,
        )

    def capabilities_of(self, target: Target, organisation: Organisation) -> Capabilities:
        """Return the capabilities of a model, as far as an organisation's settings and the geography permit them."""
        capabilities = self.capabilities.of(target.foundation)
        if capabilities.s3_sources and not self.settings.media.s3:
            capabilities = msgspec.structs.replace(capabilities, s3_sources=())
        if capabilities.cited_documents and (organisation.pdf or self.settings.media.pdf) == "text":
            capabilities = msgspec.structs.replace(capabilities, cited_documents=())
        if capabilities.web_search:
            here = geography(target.model_id, self.catalogue.region)
            if here not in capabilities.web_search_geographies:
                capabilities = msgspec.structs.replace(capabilities, web_search=None)
        if capabilities.cache and organisation.caching == "implicit":
            capabilities = msgspec.structs.replace(capabilities, implicit_caching=True)
        return capabilities

    def sign(self, call: BedrockCall, now: float) -> Headers:
        """Return the headers of a call, signed. Raises `ApiError` (503) while there are no credentials."""
        identity = self.identity()
        if identity is None:
            raise no_credentials()
        headers: Headers = (("content-type", "application/json"),)
        if call.project is not None:
            headers += ((PROJECT_HEADER, call.project),)
        if call.metadata is not None:
            headers += ((HEADER, call.metadata),)
        signed = self.signer.sign(identity, call.path, call.body, headers, now, call.digest)
        return (*headers, ("accept", call.accept), ("user-agent", "oai-extproc"), *signed)

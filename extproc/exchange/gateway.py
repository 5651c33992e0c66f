"""The state that all exchanges of a worker share. Nothing here waits or does I/O.

Decisions: docs/decisions.md, D215, D217.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import Table
from extproc.bedrock.catalogue import Catalogue, Target, geography
from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.prices import LIST_PRICES, PriceList
from extproc.bedrock.request_metadata import HEADER
from extproc.bedrock.sigv4 import Headers, Signer
from extproc.config import Organisation, Settings
from extproc.config.roles import RoleSettings
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.jobs import Admit, Assume
from extproc.exchange.local_replies import no_credentials, no_role, unknown_region
from extproc.exchange.loop_time import LoopTime
from extproc.exchange.spending import Accounts
from extproc.limits.counters import Counters, Decision, Scope
from extproc.openai.embeddings import Detokeniser
from extproc.tenancy.directory import Directory
from extproc.value import Value

PROJECT_HEADER = "x-amzn-bedrock-projectidentifier"
"""InvokeModel's `projectIdentifier`."""


class Place(Value, frozen=True):
    """Bedrock in a region, as an organisation has it: its models, the signer of its calls, and the host of these.

    `identity` returns the credentials of the organisation's role; None is the gateway's own identity.
    """

    catalogue: Catalogue
    signer: Signer
    authority: str
    identity: Callable[[], Credentials | None] | None = None


class RemoteStore(Protocol):
    """A store of counters and accounts that takes a round trip, for which exchanges wait by the job `Admit`."""

    @property
    def ready(self) -> bool:
        """Whether it can be asked now; if not, `Counters` and `Accounts` decide without it."""

    def known(self, scopes: Sequence[Scope], tokens: int) -> Decision | None:
        """Count a request that is no stream by what the worker has taken in advance; None: the store is to be asked."""

    def withdraw(self, admit: Admit) -> None:
        """Count a request no more that is over before its exchange got the result. Raises nothing."""


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
    budget: MemoryBudget
    """The bytes of requests in flight. It stays the same object: open exchanges release into it."""
    counters: Counters
    """What counts the rates of callers with limits. It stays the same object, too."""
    accounts: Accounts | None = None
    """The accounts of callers with budgets; likewise. Without it, they get a 503."""
    remote: RemoteStore | None = None
    """Where both are in a store that takes a round trip."""
    loop_time: LoopTime | None = None
    """The event loop's time that organisations' bodies take, where that is measured. It stays the same object, too."""
    prices: PriceList = LIST_PRICES
    mark_by_header: bool = False
    """Whether Envoy's routes match headers and no metadata, so that a header has to mark signed requests."""
    region: str = ""
    """The region that Envoy and side calls are told of, where it is not the gateway's own; else empty."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Bedrock in other regions, which organisations may name; the worker replaces it when one of them changes."""
    role: Callable[[str, RoleSettings], Place | None] | None = None
    """Return Bedrock in a region as a role has it; None where the role was not looked for yet."""
    assumed: bool = False
    """Whether `identity` is a role's, in whose place the gateway's own is never used."""

    def of(self, organisation: Organisation, looked_for: bool = False) -> "Gateway | Assume":
        """Return the gateway as an organisation sees it: with its region's Bedrock, and its role's identity.

        A role that was not looked for yet is to be assumed first. Raises `ApiError`: 503 for a region that Envoy has no
        way to, 502 for a role that was `looked_for` in vain. Nothing is sent to another region, or by another identity.
        """
        home = self.catalogue.region
        region = organisation.region or home
        place = None if region == home else self.places.get(region)
        if place is None and region != home:
            raise unknown_region(region)
        if organisation.role is not None:
            place = self.role(region, organisation.role) if self.role is not None else None
            if place is None:
                if looked_for:
                    raise no_role()
                return Assume(region, organisation.role)
        return self if place is None else self._at(place, "" if region == home else region)

    def _at(self, place: Place, region: str) -> "Gateway":
        """Return the gateway with another Bedrock than its own, for one exchange."""
        return Gateway(
            settings=self.settings,
            directory=self.directory,
            catalogue=place.catalogue,
            capabilities=self.capabilities,
            signer=place.signer,
            authority=place.authority,
            identity=place.identity or self.identity,
            detokenise=self.detokenise,
            budget=self.budget,
            counters=self.counters,
            accounts=self.accounts,
            remote=self.remote,
            loop_time=self.loop_time,
            prices=self.prices,
            mark_by_header=self.mark_by_header,
            region=region,
            assumed=place.identity is not None,
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
        """Return the headers of a call, signed. Raises `ApiError` while there are no credentials (503), or none of the
        organisation's role (502)."""
        identity = self.identity()
        if identity is None:
            raise no_role() if self.assumed else no_credentials()
        headers: Headers = (("content-type", "application/json"),)
        if call.project is not None:
            headers += ((PROJECT_HEADER, call.project),)
        if call.metadata is not None:
            headers += ((HEADER, call.metadata),)
        signed = self.signer.sign(identity, call.path, call.body, headers, now, call.digest)
        return (*headers, ("accept", call.accept), ("user-agent", "oai-extproc"), *signed)

"""What all exchanges of a worker share. Every answer it gives is at hand: nothing here waits or does I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from extproc.bedrock.capabilities import Table
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.sigv4 import BearerToken, Credentials, Signer
from extproc.config import Settings
from extproc.exchange.budget import Budget
from extproc.openai.embeddings import Detokeniser
from extproc.tenancy.directory import Directory


@dataclass(slots=True)
class Gateway:
    """The worker replaces fields as gateway.yaml, the catalogue or the credentials change."""

    settings: Settings
    directory: Directory
    catalogue: Catalogue
    capabilities: Table
    signer: Signer
    authority: str
    """The host, and port where it is not the usual one, of Bedrock's runtime endpoint: what `signer` signs for."""
    identity: Callable[[], Credentials | BearerToken | None]
    """AWS credentials that are good now, or None."""
    detokenise: Detokeniser
    """cl100k_base token ids to text."""
    budget: Budget
    """The bytes of requests in flight. It stays the same object: open exchanges release into it."""
    mark_by_header: bool = False
    """Whether Envoy's routes match headers and no metadata, so that a header has to mark what is signed."""

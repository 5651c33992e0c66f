"""The results of ListFoundationModels and ListInferenceProfiles, as far as a catalogue needs them.

The structs are also the wire format between a worker and its lookup process.

Source: API_FoundationModelSummary.html and API_InferenceProfileSummary.html under
https://docs.aws.amazon.com/bedrock/latest/APIReference/
"""

from msgspec import Struct

ON_DEMAND = "ON_DEMAND"
SYSTEM_DEFINED = "SYSTEM_DEFINED"
APPLICATION = "APPLICATION"


class FoundationModel(Struct, frozen=True):
    """A foundation model. `created` is in Unix seconds, 0 if AWS returns no time.

    `shutdown` is the date of its end (`2027-03-31`, in UTC), empty if AWS has announced none.
    """

    id: str
    outputs: frozenset[str]
    inputs: frozenset[str] = frozenset({"TEXT"})
    inference: frozenset[str] = frozenset({ON_DEMAND})
    created: int = 0
    shutdown: str = ""

    @property
    def served(self) -> bool:
        """Return whether it turns text into text or embeddings (a reranker, which scores, does neither)."""
        return "TEXT" in self.inputs and bool(self.outputs & {"TEXT", "EMBEDDING"}) and ".rerank-" not in self.id


class InferenceProfile(Struct, frozen=True):
    """An inference profile. `kind` is SYSTEM_DEFINED or APPLICATION.

    The `arn` contains an account's number, and is empty in the built-in list, which belongs to no account.
    """

    id: str
    arn: str
    foundations: tuple[str, ...]
    kind: str = SYSTEM_DEFINED
    created: int = 0
    regions: tuple[str, ...] = ()
    """Where its calls are served; an empty name is anywhere, and none at all is not known."""

    @property
    def foundation(self) -> str | None:
        """Return the model behind it; None for several, so that no rule about one of them lets in another."""
        return self.foundations[0] if len(set(self.foundations)) == 1 else None


class Listing(Struct, frozen=True):
    """The models and profiles of one region."""

    region: str
    models: tuple[FoundationModel, ...]
    profiles: tuple[InferenceProfile, ...]

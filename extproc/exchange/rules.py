"""A caller, and the settings -> the rules for its request.

Decisions: docs/decisions.md, D184, D185, D186, D187.
"""

from extproc.bedrock.request_metadata import OWN, fitted
from extproc.config import Settings
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.states import Admitted
from extproc.tenancy.directory import Caller
from extproc.translate.rules import NO_RULES, Rules


def rules_of(settings: Settings, caller: Caller, request_id: str) -> Rules:
    """Return the rules for a request of `caller`'s."""
    metadata, own = _metadata(settings, caller, request_id), caller.own
    budgeted = caller.budgets is not None
    if own.max_tokens is None and own.guardrail is None and not budgeted:
        return Rules(metadata) if metadata else NO_RULES
    guardrail = (own.guardrail.id, own.guardrail.version) if own.guardrail else None
    return Rules(metadata, own.max_tokens, guardrail, budgeted)


def default_model(admitted: Admitted) -> str | None:
    """Return the model of a chat that names none; embeddings have no default."""
    return None if admitted.endpoint is EMBEDDINGS else admitted.caller.own.default_model


def _metadata(settings: Settings, caller: Caller, request_id: str) -> dict[str, str]:
    """Return the pairs that the gateway adds: those that all calls have, then the organisation's own."""
    values = {"organisation": caller.organisation, "token": caller.token, "request_id": request_id}
    pairs = {f"{OWN}{name}": fitted(values[name]) for name in settings.aws.request_metadata}
    if caller.own.request_metadata:
        pairs.update(caller.own.request_metadata)
    return pairs

"""The rules of `capabilities`: what the rows of an operator have to say about a family of models."""

from typing import get_args

from extproc.bedrock.capabilities import Capabilities, Effort
from extproc.bedrock.capability_table import BUILT_IN, CapabilityError, Row
from extproc.config.document import ConfigError

_NEEDS = {"budget": ("minimum_budget",), "effort": ("effort_path", "efforts"), "nova": ("effort_path", "efforts")}
"""Style of reasoning -> the features that it requires."""
_MODEL_FIELDS = "additionalModelRequestFields"
_EFFORT = ("outputConfig", "effort")
"""The only path outside `additionalModelRequestFields`."""


def check_capabilities(rows: tuple[Row, ...]) -> None:
    """Check that the rows make a table, and that each family is complete; raises `ConfigError`."""
    if not rows:
        return
    try:
        table = BUILT_IN.with_overrides(rows)
    except CapabilityError as error:
        raise ConfigError(str(error)) from None
    places = {row.family: f"capabilities[{index}]" for index, row in enumerate(rows)}
    for name in (*places, *table.families):
        _check_family(table.families[name], places.get(name, f"capabilities: the family `{name}`"))


def _check_family(family: Capabilities, where: str) -> None:
    for need in _NEEDS.get(family.reasoning, ()):
        if not getattr(family, need):
            raise ConfigError(f"{where}.{need}: missing; models that reason by `{family.reasoning}` need it")
    if (family.efforts or family.reasoning_off == "effort_none") and not family.effort_path:
        raise ConfigError(f"{where}.effort_path: missing; name the path of the effort")
    ordered = sorted(set(family.efforts), key=get_args(Effort).index)
    if list(family.efforts) != ordered:
        raise ConfigError(f"{where}.efforts: write them lowest first, each once: {', '.join(ordered)}")
    for name, path, other in (("effort_path", family.effort_path, _EFFORT), ("top_k", family.top_k, ())):
        if path != other and path and (len(path) == 1 or path[0] != _MODEL_FIELDS):
            raise ConfigError(f"{where}.{name}: expected `{_MODEL_FIELDS}` and the keys below it")
    if family.reasoning == "nova" and len(family.effort_path) < 3:
        # `type` goes beside the effort.
        raise ConfigError(f"{where}.effort_path: expected `{_MODEL_FIELDS}`, a key, and one below that")

"""The regions that organisations name: only those for which Envoy has a way to Bedrock.

Decision: docs/decisions.md, D215.
"""

from collections.abc import Collection, Mapping, Sequence

from extproc.config.document import ConfigError
from extproc.config.faults import nearest


def check_regions(of_organisations: Mapping[str, str | None], own: str | None, others: Sequence[str]) -> None:
    """Check that each organisation's region is the gateway's `own`, or one of `regions`; raises `ConfigError`."""
    if len(set(others)) < len(others):
        raise ConfigError("regions: a region is repeated; write each once")
    known = {*others, *([own] if own else [])}
    for name, region in of_organisations.items():
        if region is not None and region not in known:
            raise ConfigError(f"organisations.{name}.region: {unknown_region(region, known)}")


def unknown_region(region: str, known: Collection[str]) -> str:
    """Return what is wrong with a region that Envoy has no way to, and what to do."""
    return (
        f"`{region}` is not in `regions`{nearest(region, known)}: add it there, and start Envoy with the configuration "
        "that is rendered of it"
    )

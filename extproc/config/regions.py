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
        check_region(f"organisations.{name}", region, known)


def check_region(where: str, region: str | None, known: Collection[str]) -> None:
    """Check the region of one organisation; raises `ConfigError`, with what to do."""
    if region is not None and region not in known:
        raise ConfigError(
            f"{where}.region: `{region}` is not in `regions`{nearest(region, known)}: add it there, and start Envoy "
            "with the configuration that is rendered of it"
        )

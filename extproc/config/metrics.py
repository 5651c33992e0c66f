"""`metrics`: what Envoy counts by organisation and model."""

from typing import Annotated

import msgspec
from msgspec import Meta

from extproc.config.kinds import YesNo


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics of usage on Envoy's `/metrics`. Only Envoy reads these, when it starts."""

    usage: YesNo = True
    """Whether calls, tokens and costs are counted by organisation and model, for whoever may read `/metrics`."""
    series: Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")] = 10_000
    """Most series of each of these metrics; what comes beyond is not counted, see docs/operations.md."""

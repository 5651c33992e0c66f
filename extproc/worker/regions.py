"""The regions beside the gateway's own: the models of each, kept fresh, and the signers of calls to them.

Each region has a keeper with a thread, as the gateway's own has (`extproc.aws.catalogue_keeper`): regions are few.

Decisions: docs/decisions.md, D215, D270.
"""

import threading
from collections.abc import Callable, Iterable, Mapping

from extproc.aws.catalogue_keeper import CatalogueKeeper
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.endpoints import Endpoint
from extproc.bedrock.sigv4 import Signer
from extproc.exchange.gateway import Place


class Regions:
    """Bedrock in the regions that organisations may name."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        refresh_seconds: float,
        fetch: Callable[[str], Catalogue],
        changed: Callable[[], None],
    ) -> None:
        """`fetch` lists a region's models at AWS; `changed` is called, from a thread, when one has a new list."""
        self._endpoints = endpoints
        self._alone = threading.Lock()
        self._fetch = fetch
        self._signers = {region: Signer(region, endpoint.authority) for region, endpoint in endpoints.items()}
        self._keepers = {
            region: CatalogueKeeper(region, refresh_seconds, lambda _: changed(), fetch=self._list)
            for region in endpoints
        }

    def _list(self, region: str) -> Catalogue:
        """List a region's models, one region at a time: each takes a process of 45 MB for a moment."""
        with self._alone:
            return self._fetch(region)

    def start(self) -> None:
        """Have each region's models listed now and from then on."""
        for keeper in self._keepers.values():
            keeper.start()

    def attempted(self) -> Iterable[threading.Event]:
        """Return what is set for each region after its first attempt, successful or not."""
        return [keeper.attempted for keeper in self._keepers.values()]

    def places(self) -> Mapping[str, Place]:
        """Return what the gateway needs of each region, as it is now."""
        return {
            region: Place(keeper.current, self._signers[region], self._endpoints[region].authority)
            for region, keeper in self._keepers.items()
        }

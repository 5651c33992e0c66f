"""The built-in list of models (seed.json): the catalogue until AWS has listed its models once.

The file names its sources.
"""

import calendar
import datetime
import re
from importlib import resources

import msgspec

from extproc.bedrock.catalogue import Catalogue, geographies
from extproc.bedrock.listing import ON_DEMAND, FoundationModel, InferenceProfile, Listing

_DATE = re.compile(r"-(20[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])\b")


class _SeedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of seed.json. `on_demand`: in every region, in none, or in these; `profiles`: of these geographies."""

    id: str
    provider: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    on_demand: bool | tuple[str, ...]
    profiles: tuple[str, ...]


class _Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: tuple[str, ...]
    date: str
    models: tuple[_SeedModel, ...]


def seed(region: str) -> Catalogue:
    """Return the catalogue of the built-in list, cut to what `region` can call. Reads a file of this package."""
    models, profiles = [], []
    listed = _read()
    for known in listed.models:
        created = _created(known.id, listed.date)
        here = known.on_demand if isinstance(known.on_demand, bool) else region in known.on_demand
        inference = frozenset({ON_DEMAND} if here else {"INFERENCE_PROFILE"})
        models.append(FoundationModel(known.id, frozenset(known.outputs), frozenset(known.inputs), inference, created))
        profiles += [
            InferenceProfile(id=f"{geography}.{known.id}", arn="", foundations=(known.id,), created=created)
            for geography in known.profiles
            if geography in geographies(region)
        ]
    return Catalogue.build(models, profiles, region)


def catalogue_of(listing: Listing) -> Catalogue:
    """Return the catalogue of what AWS lists. Models that only the built-in list has count as models elsewhere."""
    return Catalogue.build(listing.models, listing.profiles, listing.region, seed_ids())


def seed_ids() -> list[str]:
    """Return the ids of all foundation models of the built-in list."""
    return [known.id for known in _read().models]


def seed_date() -> str:
    """Return the date of the built-in list."""
    return _read().date


def _created(model_id: str, listed: str) -> int:
    """Return the date in the id, in Unix seconds; without one that of the list: the model was there by then."""
    match = _DATE.search(model_id)
    day = datetime.date(*map(int, match.groups())) if match else datetime.date.fromisoformat(listed)
    return calendar.timegm(day.timetuple())


def _read() -> _Seed:
    return msgspec.json.decode(resources.files("extproc.bedrock").joinpath("seed.json").read_bytes(), type=_Seed)

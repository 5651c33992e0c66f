"""The decoder of gateway.yaml: bytes -> typed settings.

Every key of the file is a field of a struct of this package, with its default. The description of a type is also the
error message for a wrong value. An unknown key, a repeated key, a wrong type or a value out of range is rejected with
the key's path. Nothing here reads the environment or AWS.

Tokens may be in files of their own, which `tokens_from` names: `Draft` is a gateway.yaml before those are read.

Invariant: for any bytes, `parse` returns `Settings` or raises `ConfigError`, never another exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from extproc.config.budgets import BudgetSettings as BudgetSettings
from extproc.config.budgets import placed
from extproc.config.checks import check_all_tokens, check_settings
from extproc.config.checks import check_kept as check_kept
from extproc.config.directory import DirectorySettings as DirectorySettings
from extproc.config.directory import DynamoDbSettings as DynamoDbSettings
from extproc.config.document import ConfigError as ConfigError
from extproc.config.document import naming, read
from extproc.config.faults import fault
from extproc.config.organisations import EndpointSettings as EndpointSettings
from extproc.config.organisations import GuardrailSettings as GuardrailSettings
from extproc.config.organisations import Models as Models
from extproc.config.organisations import Organisation as Organisation
from extproc.config.organisations import check_organisation as check_organisation
from extproc.config.organisations import check_patterns as check_patterns
from extproc.config.redis import placed_redis
from extproc.config.settings import ASSUME_SECONDS as ASSUME_SECONDS
from extproc.config.settings import LOOKUP_SECONDS as LOOKUP_SECONDS
from extproc.config.settings import TRANSLATION_SECONDS as TRANSLATION_SECONDS
from extproc.config.settings import AwsSettings as AwsSettings
from extproc.config.settings import CorsSettings as CorsSettings
from extproc.config.settings import LimitSettings as LimitSettings
from extproc.config.settings import MediaSettings as MediaSettings
from extproc.config.settings import ResponsesSettings as ResponsesSettings
from extproc.config.settings import Settings as Settings
from extproc.config.settings import StreamingSettings as StreamingSettings
from extproc.config.settings import TokenFile
from extproc.config.sources import contents, token_texts
from extproc.config.state_files import check_state_files
from extproc.config.tokens import Token as Token
from extproc.config.tokens import check_tokens

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Draft:
    """A gateway.yaml that is valid YAML; its content is checked once its token files are read as well."""

    source: str
    document: Mapping[object, object]

    @property
    def tokens_from(self) -> Path | None:
        """Return the path of the token files, None if there is none, or none that `settings` accepts."""
        place = self.document.get("tokens_from")
        return Path(self.source).parent / place if place and isinstance(place, str) else None

    def settings(self, token_texts: Mapping[str, bytes]) -> Settings:
        """Return the settings, with the tokens of `token_texts` (file -> text) after its own; raises `ConfigError`."""
        with naming(self.source):
            settings = _convert(self.document, Settings)
            check_settings(settings)
            check_state_files(self.source, self.tokens_from, settings)
        files, keys = {self.source: settings.tokens}, settings.responses.keys
        for source, text in token_texts.items():
            with naming(source):
                file = _convert(read(text), TokenFile)
            files[source] = file.tokens
            keys += file.responses.keys
        check_tokens(files, settings.organisations, settings.budgets.organisation, settings.rate_limits)
        tokens = tuple(token for tokens in files.values() for token in tokens)
        with naming(self.source):
            check_all_tokens(settings, tokens, keys)
        whole = msgspec.structs.replace(settings, tokens=tokens, responses=ResponsesSettings(keys))
        return _placed(whole, Path(self.source).parent)


def load(path: Path) -> Settings:
    """Read and check a gateway.yaml and its token files; raises `ConfigError`."""
    drafted = draft(contents(path), str(path))
    place = drafted.tokens_from
    return drafted.settings(token_texts(place) if place else {})


def draft(text: bytes, source: str = "gateway.yaml") -> Draft:
    """Read the gateway.yaml in `text`; raises `ConfigError`, whose message starts with `source`.

    An empty file is rejected: a reader may see one while an editor saves, and taking it for "no tokens" would reject
    every caller. `{}` is an explicit configuration without tokens.
    """
    with naming(source):
        return Draft(source, read(text))


def parse(text: bytes, source: str = "gateway.yaml") -> Settings:
    """Return the settings in `text`, without token files; raises `ConfigError`, whose message starts with `source`."""
    return draft(text, source).settings({})


def _convert(document: Mapping[object, object], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(fault(document, kind, "") or str(error)) from None


def _placed(settings: Settings, folder: Path) -> Settings:
    """Return the settings with the whole paths of the files in them that are relative to `folder`."""
    return msgspec.structs.replace(
        settings,
        last_used_in=settings.last_used_in and str(folder / settings.last_used_in),
        rate_limits=settings.rate_limits.placed(folder),
        usage=settings.usage.placed(folder),
        budgets=placed(settings.budgets, folder),
        redis=placed_redis(settings.redis, folder),
    )

"""For any bytes, `parse` returns `Settings` or raises `ConfigError`, and never anything else."""

import datetime
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.bedrock.capabilities import FIELDS
from extproc.config import ConfigError, Settings, draft, parse
from extproc.config.sources import token_texts
from extproc.openai.errors import ApiError
from extproc.tenancy.directory import Directory

KEYS = sorted(
    {
        field
        for struct in msgspec.Struct.__subclasses__()
        if struct.__module__.startswith("extproc.config")
        for field in struct.__struct_fields__
    }
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=70)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.binary(max_size=8)
    | st.from_regex(r"\A[0-9a-fA-F]{64}\Z")
)
keys = st.sampled_from(KEYS) | st.sampled_from(["acme", "beta"]) | st.text(max_size=8) | st.integers() | st.booleans()
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=25,
)

names = st.sampled_from(["acme", "beta", "Ge.o_1"])
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(["us-east-1", None, 5]),
        "organisations": st.dictionaries(
            names,
            st.fixed_dictionaries({}, optional={"enabled": st.booleans() | scalars, "models": documents}),
            max_size=3,
        ),
        "tokens": st.lists(
            st.fixed_dictionaries(
                {"name": st.text(min_size=1, max_size=5), "sha256": st.from_regex(r"\A[0-9a-f]{64}\Z") | scalars},
                optional={"organisations": st.lists(names, max_size=2), "expires": scalars},
            ),
            max_size=3,
        ),
        "workers": st.integers(-1, 70) | scalars,
        "capabilities": st.lists(
            st.fixed_dictionaries(
                {"family": st.sampled_from(["nova", "claude-3-7", "acme"]) | scalars},
                optional={"match": st.just(["acme.*"]), "like": st.sampled_from(["nova", "acme"])}
                | {field.name: documents for field in FIELDS},
            ),
            max_size=2,
        ),
        "streaming": st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2),
    },
)


def outcome(text: bytes) -> Settings | None:
    """Return the settings, or None for a well-formed error; anything else fails the test."""
    try:
        return parse(text, "f.yaml")
    except ConfigError as error:
        message = str(error)
    assert message.startswith("f.yaml: ")
    assert len(message) > len("f.yaml: ")
    return None


@given(st.binary(max_size=200))
@example(b"\xfe\xff\x00a")
@example(b"? ?\n")
@example(b"!!timestamp x")
@example(b"!!float x")
@example(b"&a [*a]")
@example(b"&a {<<: *a}")
def test_any_bytes_become_settings_or_config_error(text: bytes) -> None:
    outcome(text)


@given(st.text(alphabet="{}[]:,-?&*!|>'\"%@`#\n\t a1.~<=", max_size=60))
def test_any_yaml_punctuation_yields_settings_or_config_error(text: str) -> None:
    outcome(text.encode())


@given(documents)
def test_any_yaml_document_yields_settings_or_config_error(document: Any) -> None:
    outcome(yaml.safe_dump(document).encode())


@given(near_misses, st.text(max_size=20), st.text(max_size=20), st.floats(min_value=0, max_value=1e10))
def test_accepted_settings_can_be_used(document: dict[str, Any], authorization: str, header: str, now: float) -> None:
    settings = outcome(yaml.safe_dump(document).encode())
    if settings is None:
        return
    assert 1 <= settings.workers <= 64
    assert math.isfinite(settings.streaming.keepalive_seconds)
    assert all(name in settings.organisations for token in settings.tokens for name in token.organisations)
    with suppress(ApiError):
        assert Directory(settings).authenticate(authorization, header, now).organisation in settings.organisations


@given(near_misses)
def test_accepted_settings_mean_the_same_when_written_again(document: dict[str, Any]) -> None:
    settings = outcome(yaml.safe_dump(document).encode())
    if settings is not None:
        again = msgspec.to_builtins(settings, builtin_types=(datetime.datetime,))
        assert outcome(yaml.safe_dump(again).encode()) == settings


@given(
    documents | st.fixed_dictionaries({"tokens": documents}), st.text(max_size=20) | st.just("\x00") | st.just("\ud800")
)
def test_any_token_file_yields_settings_or_config_error(document: Any, place: str) -> None:
    gateway = yaml.safe_dump({"organisations": {"acme": {}, "beta": {}}, "tokens_from": place}).encode()
    with suppress(ConfigError):
        settings = draft(gateway, "f.yaml").settings({"t.yaml": yaml.safe_dump(document).encode()})
        assert all(name in settings.organisations for token in settings.tokens for name in token.organisations)


@given(st.text(max_size=20) | st.just("\x00") | st.just("\ud800"))
def test_any_token_files_path_yields_texts_or_config_error(place: str) -> None:
    with suppress(ConfigError):
        assert token_texts(Path("nowhere") / place)

"""An operator's rows: families that are added and changed on top of the built-in table, and rows that make none."""

import msgspec
import pytest
import yaml

from extproc.bedrock import capabilities
from extproc.bedrock.capability_table import BUILT_IN, CapabilityError, Row


def _rows(text: str) -> tuple[Row, ...]:
    return msgspec.convert(yaml.safe_load(text), tuple[Row, ...])


def test_a_new_family() -> None:
    table = BUILT_IN.with_overrides(
        _rows("""
        - family: acme
          match: ["acme.chat-*", "anthropic.claude-sonnet-4-6"]
          like: claude-3
          images: false
          stop_sequences: 3
        """)
    )
    acme = table.of("us.acme.chat-2")
    assert (acme.family, acme.images, acme.stop_sequences, acme.prefill) == ("acme", False, 3, True)
    assert table.of("anthropic.claude-sonnet-4-6") is acme
    assert table.of("anthropic.claude-opus-4-6-v1").family == "claude-4-6"
    assert BUILT_IN.of("acme.chat-2").family == capabilities.UNKNOWN


def test_a_changed_family_changes_those_that_are_like_it() -> None:
    table = BUILT_IN.with_overrides(
        _rows("""
        - family: claude-4-7
          efforts: [low, max]
          minimum_budget: 2048
          match: ["acme.opus-*"]
        """)
    )
    for model in ("anthropic.claude-opus-4-7", "anthropic.claude-sonnet-5", "acme.opus-1"):
        assert (table.of(model).efforts, table.of(model).minimum_budget) == (("low", "max"), 2048)
    assert table.of("anthropic.claude-opus-5").efforts == BUILT_IN.of("anthropic.claude-opus-5").efforts
    assert table.of("anthropic.claude-sonnet-4-6") == BUILT_IN.of("anthropic.claude-sonnet-4-6")


def test_an_explicit_null_overrides_and_a_missing_key_is_inherited() -> None:
    rows = _rows("[{family: claude-4-6, minimum_budget: null}]")
    changed = BUILT_IN.with_overrides(rows).of("anthropic.claude-sonnet-4-6")
    assert changed.minimum_budget is None
    assert changed.default_max_tokens == 64000


def test_unknown_can_be_changed_and_changes_nothing_else() -> None:
    table = BUILT_IN.with_overrides(_rows("[{family: unknown, sampling: none, like: nova-micro}]"))
    assert (table.of("acme.chat").sampling, table.of(None).prefill) == ("none", True)
    assert {name: value for name, value in table.families.items() if name != "unknown"} == {
        name: value for name, value in BUILT_IN.families.items() if name != "unknown"
    }


def test_overrides_are_not_piled_up() -> None:
    once = BUILT_IN.with_overrides(_rows("[{family: a, match: [a.*]}]"))
    twice = once.with_overrides(_rows("[{family: b, match: [b.*]}]"))
    assert (twice.of("a.x").family, twice.of("b.x").family) == ("unknown", "b")


def test_a_family_may_be_there_for_others_only() -> None:
    table = BUILT_IN.with_overrides(_rows("[{family: base, images: true}, {family: a, match: [a.*], like: base}]"))
    assert table.of("a.x").images


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[{family: a, match: [a.*], like: claude-46}]",
            r"capabilities\[0\]\.like: there is no family `claude-46`, did you mean `claude-4-6`\?",
        ),
        ("[{family: a, match: [a.*], like: xyzzy}]", r"capabilities\[0\]\.like: there is no family `xyzzy`$"),
        ("[{family: a, match: [a.*], like: a}]", r"capabilities\[0\]\.like: `a` would be like itself"),
        ("[{family: claude-3, like: claude-4}]", r"capabilities\[0\]\.like: `claude-3` would be like itself"),
        (
            "[{family: a, match: [a.*]}, {family: a, match: [b.*]}]",
            r"capabilities\[1\]\.family: `a` has a row already; write one row for it",
        ),
        (
            "[{family: nova, images: false}, {family: a, images: true}]",
            r"capabilities\[1\]\.match: missing; name the foundation ids of the family `a`",
        ),
    ],
)
def test_rows_that_make_no_table(text: str, message: str) -> None:
    with pytest.raises(CapabilityError, match=message):
        BUILT_IN.with_overrides(_rows(text))


def test_messages_name_the_rows_as_their_owner_does() -> None:
    with pytest.raises(CapabilityError, match=r"^models\.rows\[0\]\.like: "):
        BUILT_IN.with_overrides(_rows("[{family: a, match: [a.*], like: xyzzy}]"), "models.rows")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{match: [a.*]}]", "missing required field `family` - at `$[0]`"),
        ("[{family: a, imagse: true}]", "unknown field `imagse` - at `$[0]`"),
        ("[{family: a}, {family: b, images: 1}]", "Expected `bool`, got `int` - at `$[1].images`"),
        ("[{family: a, tool_choices: [auto, some]}]", "Invalid enum value 'some' - at `$[0].tool_choices[1]`"),
        ("[{family: a, sampling: three}]", "Invalid enum value 'three' - at `$[0].sampling`"),
        ("[{family: a, stop_sequences: -1}]", "Expected `int` >= 0 - at `$[0].stop_sequences`"),
        ("[{family: a, match: a.*}]", "Expected `array`, got `str` - at `$[0].match`"),
        ("[{family: a, match: ['a.[bc]']}]", "- at `$[0].match[0]`"),
        ("[{family: A B, match: [a.*]}]", "- at `$[0].family`"),
        ("[{family: a, top_k: [a, 'b c']}]", "- at `$[0].top_k[1]`"),
        ("[{family: a, documents: null}]", "got `null` - at `$[0].documents`"),
    ],
)
def test_rows_that_are_not_rows(text: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        _rows(text)
    assert str(caught.value).endswith(message)

"""The outcome of every field and message form of the openai package, for every family of models.

Each case is a request that differs from a plain one by one thing. The translation itself decides the outcome:
rejected, if it raises; ignored, if it names it; applied, if another request goes out or another response is made;
without effect, if nothing at all changes. `make docs` writes docs/compatibility.md from here; a test compares the two.
"""

import copy
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from extproc.bedrock.capabilities import UNKNOWN, Capabilities
from extproc.bedrock.capability_table import BUILT_IN, ROWS
from extproc.openai import limits
from extproc.openai.chat import decode_request
from extproc.openai.embeddings import MAX_TEXTS, MAX_TOKENS
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan
from extproc.translate.media import MAX_REMOTE_IMAGES
from tests.unit.translate import responses_table
from tests.unit.translate.compatibility_cases import SECTIONS, TOP, USER, Change, Json

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"


def plain() -> Json:
    return {"model": "m", "messages": [copy.deepcopy(USER)]}


def planned(request: Json, family: Capabilities) -> ChatPlan:
    return plan(decode_request(json.dumps(request).encode()), family)


def response_to(change: Change, family: Capabilities) -> ChatPlan | ApiError:
    """Return the plan, or the error."""
    request = plain()
    change(request)
    try:
        return planned(request, family)
    except ApiError as error:
        return error


LOOSENED = re.compile(r"\.(parameters|schema)(\.|$)")
"""A path that names a part of a schema, which is applied but for that part."""


def outcome(change: Change, family: Capabilities) -> str:
    """Return `rejected`, `ignored`, `applied` or `no effect`."""
    made = response_to(change, family)
    if isinstance(made, ApiError):
        return "rejected"
    if not all(map(LOOSENED.search, made.ignored)):
        return "ignored"
    before = planned(plain(), family)
    same = (made.body, made.streamed, made.include_usage, made.shape) == (
        before.body,
        before.streamed,
        before.include_usage,
        before.shape,
    )
    return "no effect" if same and change is not TOP["model"] else "applied"


FAMILIES: Mapping[str, Capabilities] = {
    name: family for name, family in sorted(BUILT_IN.families.items()) if family.converse
}


LARGE = "512 KiB, or of 8 KiB with 8,000 separators or 2,000 objects and booleans"
INLINED = "families [without `definitions`](#schemas-of-tools)"


def outcome_by_family(change: Change) -> dict[str, str]:
    return {name: outcome(change, family) for name, family in FAMILIES.items()}


COLUMNS: dict[str, tuple[str, ...]] = {
    "tools": (
        *("tools", "functions", "assistant.tool_calls", "assistant.function_call", "tool.content"),
        *("tool.tool_call_id", "function.content", "function.name", "function.description", "function.parameters"),
        *("custom", "custom.name", "custom.description", "custom.format: text"),
        *("tool_choice: auto", "tool_choice: allowed_tools"),
    ),
    "tool must be called": (
        *("tool_choice", "function_call", "tool_choice: required", "tool_choice: function", "tool_choice: custom"),
    ),
    "`strict` tools": ("function.strict",),
    "`parallel_` `tool_calls`": ("parallel_tool_calls",),
    "`json_schema`": ("response_format: json_schema", "json_schema.strict"),
    "`json_schema` beside tools": ("response_format: json_schema, with tools",),
    "`reasoning_` `effort`": ("reasoning_effort",),
    "`temperature`, `top_p`": ("temperature", "top_p"),
    "`stop`": ("stop",),
    "`service_tier`": ("service_tier",),
    "web search": ("web_search_options",),
    "images": ("image_url.image_url.url",),
    "files": ("file.file.file_data", "file.file.filename"),
    "audio": ("input_audio.input_audio",),
    "cache break- points": ("text.prompt_cache_breakpoint",),
    "`prompt_` `cache_` `options`": ("prompt_cache_options",),
}
"""The columns of the families' table: the cases that have the same outcome in each family."""

FOLLOWING: dict[str, tuple[str, str]] = {
    "custom.format": ("custom", "ignored"),
    "image_url.image_url.detail": ("image_url.image_url.url", "ignored"),
    "image_url.prompt_cache_breakpoint": ("image_url.image_url.url", "text.prompt_cache_breakpoint"),
    "file.prompt_cache_breakpoint": ("file.file.file_data", "text.prompt_cache_breakpoint"),
    "input_audio.prompt_cache_breakpoint": ("input_audio.input_audio", "text.prompt_cache_breakpoint"),
}
"""Cases that are rejected where another case is, and otherwise have one outcome, or that of a third case."""

CASES: dict[str, Change] = {name: change for cases in SECTIONS.values() for name, change in cases.items()}
WORDS = {"applied": "yes", "ignored": "ignored", "rejected": "400", "no effect": "no effect"}
EVERYWHERE = {
    "applied": "Applied by every family",
    "ignored": "Ignored by every family, and named in `x-oai-ignored-params`",
    "no effect": "Accepted without effect by every family, since it carries no meaning for the models",
    "rejected": "Rejected with a 400 that names it, for every family",
}


def same_everywhere() -> Iterator[str]:
    """Yield the list of cases that have one outcome in all families, a line for each outcome and section."""
    by_outcome: dict[str, dict[str, list[str]]] = {}
    for title, cases in SECTIONS.items():
        for name, change in cases.items():
            outcomes = set(outcome_by_family(change).values())
            if len(outcomes) == 1:
                by_outcome.setdefault(outcomes.pop(), {}).setdefault(title, []).append(f"`{name}`")
    for kind, sentence in EVERYWHERE.items():
        yield f"- {sentence}:"
        yield from (f"  - {title.lower()}: {', '.join(names)}" for title, names in by_outcome[kind].items())


def family_rows() -> Iterator[str]:
    """Yield the families' table, a row for each family."""
    columns = [outcome_by_family(CASES[cases[0]]) for cases in COLUMNS.values()]
    yield f"| family | model ids | {' | '.join(COLUMNS)} | streams beside tools |"
    yield "|---" * (len(COLUMNS) + 3) + "|"
    for row in sorted(ROWS, key=lambda row: row.family == UNKNOWN):
        if row.family in FAMILIES and (row.match or row.family == UNKNOWN):
            identifiers = ", ".join(f"`{pattern}`" for pattern in row.match) or "any other"
            cells = [WORDS[column[row.family]] for column in columns]
            yield f"| {row.family} | {identifiers} | {' | '.join(cells)} | {streaming(FAMILIES[row.family])} |"


def streaming(family: Capabilities) -> str:
    """Return how a stream arrives when the request has tools."""
    if not family.tools:
        return "400"
    return "yes" if family.streams and family.streams_with_tools else "in one piece"


HEAD = f"""# Compatibility

This page shows what happens to every field and message form of OpenAI's chat requests, first [where all families of
models agree](#the-same-for-every-family), then [family by family](#what-differs-between-families). `make docs` writes
it from tests/unit/translate/test_compatibility.py, which asks the translation. Tests keep it current: they fail if a
newer openai package has a field that is not here, or a field at any depth that the gateway does not know.

- *applied*, or *yes*: the field changes the request to Bedrock, or the response.
- *ignored*: nothing changes, and the response header `x-oai-ignored-params` names the field: by its path from the
  request's root, with `[]` for any element of a list, as in `messages[].content[].image_url.detail`. Paths are
  separated by a comma and a blank.
- *400*: the request is rejected, and `error.param` names the field.

A field that is neither OpenAI's nor one of the gateway's own (README.md) is a 400, wherever it stands. Only in
messages, where clients send back what other servers gave them, it is left out and named in the header, as in
`messages[].annotations` or `messages[].tool_calls[].index`; with the value `null`, `[]` or `{{}}` it is not named.

## Limits

More than this is a 400 whose `param` names the list and whose message has the limit, whatever the model.

| | at most |
|---|---|
| `tools`, `functions`, `tool_choice.allowed_tools.tools` | {limits.MAX_TOOLS}, as with OpenAI |
| `messages` | {limits.MAX_MESSAGES:,} |
| parts of one message's `content` | {limits.MAX_PARTS:,} |
| `tool_calls` of one message | {limits.MAX_TOOL_CALLS:,} |
| JSON objects in the `arguments` of calls, beside the first of each | {limits.MAX_TOOL_CALLS:,} |
| images at http(s) URLs, each URL once | {MAX_REMOTE_IMAGES} |
| `thinking_blocks` of one message | {limits.MAX_THINKING_BLOCKS:,} |
| `stop` | what the family takes (4 for most), {limits.MAX_STOP_SEQUENCES:,} for any |
| `logit_bias` | {limits.MAX_LOGIT_BIASES:,} |
| bytes of a JSON Schema | {limits.MAX_SCHEMA_BYTES:,} |
| members of all objects in a JSON Schema | {limits.MAX_SCHEMA_MEMBERS:,} |
| levels of a JSON Schema | {limits.MAX_SCHEMA_DEPTH} |
| digits in a row of a number in a JSON Schema | {limits.MAX_SCHEMA_DIGITS} |
| bytes that replace `$ref` in a request ({INLINED}), each use counted | {limits.MAX_REFERRED_BYTES:,} |
| schemas written in place of `$ref` in a request ({INLINED}) | {limits.MAX_REFERRED_SCHEMAS:,} |
| properties with names that a family rejects, in [all tools](#schemas-of-tools) | {limits.MAX_RENAMED_PROPERTIES:,} |
| `input` of embeddings | {MAX_TEXTS:,} texts, {MAX_TOKENS:,} token ids in all, as with OpenAI |
| JSON values in a request of {LARGE} | {limits.MAX_VALUES:,} |
| JSON values in all `arguments`, and results sent as JSON, of more than 4,096 characters | {limits.MAX_VALUES:,} |

## The same for every family

"""
TABLE = """
## What differs between families

A row is a family of [the capability table](../extproc/bedrock/capabilities.json). The first row from the top with a
pattern that fits the model's id counts; `*` stands for any characters, and a geography before the id (`us.`, `global.`)
is left out. gateway.yaml can correct rows ([configuration.md](configuration.md)).

"""
ELSEWHERE = ", ".join(f"`{pattern}`" for row in ROWS if row.family not in FAMILIES for pattern in row.match)
NOTES = f"""
- *tools*: `tools`, `functions`, and calls and results of tools in messages.
- *tool must be called*: `tool_choice` as `required` or a named tool, and `function_call` likewise.
- *`json_schema`*: `response_format`. Where it is ignored, the schema is part of the instructions to the model.
- *web search*: `web_search_options`, with an inference profile of the US. A schema is then part of the instructions.
- *cache breakpoints*: `prompt_cache_breakpoint` of a part. It is a 400 where the part itself is.
- *`prompt_cache_options`*: its `ttl`, beside a breakpoint: *ignored* where nothing is cached for an hour.
  `mode: implicit` is applied for organisations with `caching: implicit`.
- *streams beside tools*: *in one piece* means that the response of a streaming request with tools arrives in one piece.
- `messages[].content[].image_url.detail` is ignored where images are accepted, the `format` of a custom tool (but for
  `text`) where tools are, and both are a 400 elsewhere.
- Models that Bedrock does not serve in Converse are a 400: {ELSEWHERE}.
"""


SCHEMAS = """
## Schemas of tools

A tool's `parameters`, and the schema of a `response_format` that becomes a tool, are sent byte for byte where the
family takes them. Otherwise they are rewritten, and the arguments of calls come back as the client's schema has them:

- `null` where a keyword takes a list, a text or a schema counts as not given.
- References are replaced by their definitions; a definition within itself ends in its bare `type`.
- Branches of `anyOf`, `oneOf` and `allOf` at the root become properties of the root, which requires what all branches
  require.
- A description at the root, and constraints that may not stand there, become a part of the tool's description.
- Names are replaced by names that fit, and put back in calls, streamed or not.

What is not enforced any more is named in `x-oai-ignored-params`: by its keyword at the root, as in
`tools[].function.parameters.additionalProperties`, or as `tools[].function.parameters` where it is further down. A
schema that is no JSON Schema is sent as it is, but for `null`.

"""


DOUBTS = """
## What is in doubt

None of this was tried against AWS by the gateway's authors. Where sources disagree, or nobody has tried, the capability
table takes the value that Bedrock is least likely to reject, or that fails loudest for the fewest; gateway.yaml can
correct it. A family has the doubts of the one that it is like, too.

"""


def schema_rows() -> Iterator[str]:
    """Yield the table of schemas' limits, a row for each kind of family but that with the defaults."""
    yield "| families | names of tools | names of properties at the root | keywords at the root | not taken |"
    yield "|---|---|---|---|---|"
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, family in FAMILIES.items():
        cells = schema_cells(family)
        if family.tools and cells != schema_cells(FAMILIES[UNKNOWN]):
            kinds.setdefault(cells, []).append(name)
    for cells, names in kinds.items():
        yield f"| {', '.join(dict.fromkeys(group(name, names) for name in names))} | {' | '.join(cells)} |"


def group(name: str, names: Sequence[str]) -> str:
    """Return `all nova` for the name of a family if all families of that brand are among `names`."""
    brand = name.partition("-")[0]
    relatives = [other for other in FAMILIES if other.partition("-")[0] == brand]
    return f"all {brand}" if len(relatives) > 1 and set(relatives) <= set(names) else name


def schema_cells(family: Capabilities) -> tuple[str, ...]:
    properties = f"`{family.property_names}`" if family.property_names else "any"
    keys, gaps = coded(family.schema_root_keys) or "any", coded(family.schema_gaps) or "-"
    return f"`{family.tool_names}`", properties, keys, gaps


def coded(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def doubts() -> Iterator[str]:
    """Yield the doubts of each family, in the table's order."""
    for row in ROWS:
        if row.doubt:
            like = f" (like {row.like})" if row.like else ""
            yield f"- {row.family}{like}:"
            yield from (f"  - {doubt}" for doubt in row.doubt)


def render() -> str:
    """Return the page."""
    everywhere, families = "\n".join(same_everywhere()), TABLE + "\n".join(family_rows())
    schemas, doubtful = SCHEMAS + "\n".join(schema_rows()), DOUBTS + "\n".join(doubts())
    return "\n".join([HEAD + everywhere, families, NOTES + schemas, responses_table.section(), doubtful, ""])


def test_each_case_is_on_the_page() -> None:
    """A case has one outcome everywhere, is in a column, or follows from those that are."""
    everywhere = {name for name, change in CASES.items() if len(set(outcome_by_family(change).values())) == 1}
    columns = {name for cases in COLUMNS.values() for name in cases}
    assert (everywhere & columns, everywhere | columns | set(FOLLOWING)) == (set(), set(CASES))


@pytest.mark.parametrize("column", COLUMNS)
def test_the_cases_of_a_column_have_the_same_outcomes(column: str) -> None:
    first, *others = COLUMNS[column]
    assert [name for name in others if outcome_by_family(CASES[name]) != outcome_by_family(CASES[first])] == []


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_case_that_is_in_no_column_follows_from_those_that_are(name: str) -> None:
    accepted, otherwise = FOLLOWING[name]
    for family, outcome_here in outcome_by_family(CASES[name]).items():
        rejected = outcome(CASES[accepted], FAMILIES[family]) == "rejected"
        expected = otherwise if otherwise not in CASES else outcome(CASES[otherwise], FAMILIES[family])
        assert outcome_here == ("rejected" if rejected else expected), family


def test_no_cell_is_long() -> None:
    assert [
        cell for line in render().splitlines() if line.startswith("|") for cell in line.split("|") if len(cell) > 130
    ] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_rejected_field_is_a_400_that_names_it(section: str) -> None:
    for name, change in SECTIONS[section].items():
        for family in FAMILIES.values():
            made = response_to(change, family)
            if isinstance(made, ApiError):
                assert (made.status, bool(made.param)) == (400, True), (name, family.family, made.message)


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == render(), "run `make docs`"


if __name__ == "__main__":
    sys.stdout.write(render())

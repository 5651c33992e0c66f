"""The entries of the fidelity table: each has rows, or is proven by tests elsewhere that this file names."""

import ast
from pathlib import Path

import pytest

from tests.envoy.gateway.fidelity.operators import OPERATORS, REJECTED
from tests.envoy.gateway.fidelity.table import ROWS

ROOT = Path(__file__).parents[4]

ENTRIES = {
    "A1": "schemas and names of tools, by family",
    "A2": "arguments of earlier calls that are no JSON object",
    "A3": "PDFs that Claude is to see",
    "A4": "reasoning that a model writes into its text",
    "A5": "structured output of Sonnet 4.6 and Haiku 4.5",
    "A6": "metadata that Bedrock does not take",
    "A7": "later system and developer messages",
    "A8": "text beside tool calls, for Llama",
    "A9": "a code fence around JSON",
    "A10": "images that a model makes",
    "B11": "efforts that a family does not have",
    "B12": "names of files",
    "B13": "one notation of what is ignored",
    "B14": "a stream that ends before its metadata",
    "B15": "tokens of reasoning",
    "B16": "cache breakpoints and their lifetime",
    "B17": "searches of the web",
    "B18": "service tiers, ends of models, parameters of Bedrock's errors",
    "B19": "input_type of embeddings",
    "B20": "the sixth document",
    "B21": "an operator's list of fields to pass over",
    "B22": "the project of an organisation",
    "B23": "qualifiers, failed calls, prompt routers",
    "C": "cells of the capability table",
}

CLIENTS, GATEWAY, UNIT = "tests/clients", "tests/envoy/gateway", "tests/unit"
SETTINGS = f"{GATEWAY}/test_operators_settings.py"
ELSEWHERE: dict[str, list[str]] = {
    "A1": [
        f"{GATEWAY}/test_tool_schemas.py::test_a_pydantic_model_on_nova",
        f"{GATEWAY}/test_tool_schemas.py::test_a_history_has_the_names_that_fit",
        f"{GATEWAY}/test_tool_schemas.py::test_the_answer_tool_has_a_name_that_fits",
        "tests/properties/test_schema_fitting_properties.py"
        "::test_what_goes_out_is_within_the_limits_and_what_comes_back_is_valid",
    ],
    "A3": [f"{UNIT}/exchange/test_gateway.py::test_how_pdfs_are_read_is_the_organisations_or_everybodys_setting"],
    "A4": [f"{CLIENTS}/test_reasoning.py::test_reasoning_that_a_model_writes_into_its_text_is_reasoning"],
    "A9": [f"{CLIENTS}/test_structured_output.py::test_a_code_fence_around_json_is_taken_off"],
    "A10": [f"{CLIENTS}/test_media.py::test_images_that_the_model_makes"],
    "B14": [
        f"{GATEWAY}/fidelity/test_scripted.py::test_a_stream_that_ends_before_its_metadata_is_an_error",
        "tests/chaos/test_upstream_faults.py::test_a_fault_of_bedrock",
    ],
    "B16": [f"{SETTINGS}::test_prompts_are_cached_without_marks_where_an_organisation_has_it_so"],
    "B18": [
        f"{CLIENTS}/test_models.py::test_a_models_end_is_announced",
        f"{GATEWAY}/fidelity/test_scripted.py::test_a_tier_that_openai_does_not_have_is_left_out",
        f"{UNIT}/translate/test_fields.py::test_of_two_fields_the_one_that_the_request_has_is_named",
    ],
    "B19": [f"{GATEWAY}/fidelity/test_embeddings.py::test_what_a_text_is_embedded_for"],
    "B21": [
        f"{SETTINGS}::test_an_unknown_field_of_the_list_is_left_out_and_named",
        f"{SETTINGS}::test_a_stream_names_it_too",
        f"{SETTINGS}::test_embeddings_are_no_exception",
    ],
    "B22": [
        f"{SETTINGS}::test_a_chat_belongs_to_the_project_of_its_organisation",
        f"{SETTINGS}::test_so_do_embeddings_by_a_header",
    ],
    "C": [
        f"{UNIT}/bedrock/test_capabilities.py::test_every_row_names_its_sources",
        "tests/bedrock_local/test_families.py::test_both_agree_on_a_model",
        f"{UNIT}/test_wire_check.py::test_the_installed_packages_have_nothing_that_is_in_no_table",
    ],
}
"""Tests beside the rows, by entry."""


def test_each_entry_is_proven() -> None:
    rows = {row.entry for row in (*ROWS, *OPERATORS, *REJECTED)}
    assert rows | ELSEWHERE.keys() == ENTRIES.keys()


@pytest.mark.parametrize("name", [name for names in ELSEWHERE.values() for name in names])
def test_a_test_that_is_named_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

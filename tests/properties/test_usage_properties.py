"""Sums of usage: whatever calls there were, in whatever pieces and files they come, the pages add up to them."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.openai.usage_page import usage_page
from extproc.openai.usage_query import COMPLETIONS, DAY, HOUR, MINUTE, UsageQuery, page_name, usage_query
from extproc.worker.usage_lines import summed
from extproc.worker.usage_store import UsageStore, UsageView, oldest_kept
from tests.unit.worker.usage_ledgers import NOW, line

CALLS = st.fixed_dictionaries(
    {
        "when": st.integers(NOW - 5 * HOUR, NOW),
        "organisation": st.sampled_from(["acme", "umbrella"]),
        "known_model": st.sampled_from(["a", "b", "é' --"]),
        "token": st.text(max_size=3),
        "input_tokens": st.integers(0, 1 << 40),
        "output_tokens": st.integers(0, 1 << 40),
        "cached_tokens": st.just(0),
        "cache_write_tokens": st.just(0),
    }
)


def pages(path: Path, query: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the buckets of all pages."""
    buckets, page = [], ""
    while page is not None:
        text = "&".join(f"{name}={value}" for name, value in query.items()) + (f"&page={page}" if page else "")
        asked: UsageQuery = usage_query(COMPLETIONS, text, NOW)
        with UsageView(path, 60) as view:
            document = json.loads(usage_page(asked, *view.rows("acme", asked)))
        buckets += document["data"]
        page = document["next_page"]
        assert document["has_more"] is (page is not None)
        assert page is None or page == page_name(document["data"][-1]["end_time"])
    return buckets


@settings(max_examples=60)
@given(
    calls=st.lists(CALLS, max_size=30),
    parts=st.integers(1, 5),
    width=st.sampled_from([("1m", MINUTE), ("1h", HOUR), ("1d", DAY)]),
    limit=st.integers(1, 31),
    groups=st.sampled_from(["", "&group_by=model", "&group_by[]=api_key_id&group_by[]=model"]),
)
def test_the_pages_of_an_organisation_add_up_to_its_calls(
    calls: list[dict[str, Any]], parts: int, width: tuple[str, int], limit: int, groups: str
) -> None:
    lines = [line(**call) for call in calls]
    expected: Counter[int] = Counter()
    for call in calls:
        if call["organisation"] == "acme":
            expected[call["when"] // width[1] * width[1]] += call["input_tokens"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "usage.sqlite"
        with UsageStore(path) as store:
            for part in range(parts):
                store.add(summed(lines[part::parts])[0], oldest_kept(NOW, 30), b"a file", max(part - 1, 0), part, NOW)
            buckets = pages(path, {"start_time": NOW - 5 * HOUR, "bucket_width": width[0], "limit": f"{limit}{groups}"})
    assert [bucket["end_time"] for bucket in buckets[:-1]] == [bucket["start_time"] for bucket in buckets[1:]]
    found = {bucket["start_time"]: sum(each["input_tokens"] for each in bucket["results"]) for bucket in buckets}
    assert {start: number for start, number in found.items() if number} == {**+expected}
    requests = sum(each["num_model_requests"] for bucket in buckets for each in bucket["results"])
    assert requests == sum(call["organisation"] == "acme" for call in calls)

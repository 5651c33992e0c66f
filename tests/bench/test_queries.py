"""The pictures of docs/limits.md belong to queries of docs/operations.md."""

import pytest

from bench.queries import FOLDER, PICTURES, query


@pytest.mark.parametrize(("name", "beginning"), [(name, beginning) for name, (beginning, _) in PICTURES.items()])
def test_each_picture_is_of_a_query_of_the_page(name: str, beginning: str) -> None:
    assert "envoy_oai_" in query(beginning)
    assert (FOLDER / name).read_text().startswith("<?xml")


def test_the_page_shows_each_picture() -> None:
    page = FOLDER.with_suffix(".md").read_text()
    for name in PICTURES:
        assert f"(limits/{name})" in page

"""The limit per test, `timeout` in pyproject.toml, by pytest-timeout: what it leaves open.

Its SIGALRM comes once, and a failure cancels it (pytest's faulthandler too): a fixture that hangs in the teardown of a
failed test would hang for ever.

Decision: docs/decisions.md, D115.
"""

import signal
from collections.abc import Iterator

import pytest
from pytest_timeout import Settings

ENGINES = ("compose", "mesh", "kubernetes", "helm")
"""Marks of the tests that wait for an engine or a cluster, and build or pull images."""

ENGINE_LIMIT = 840
"""Seconds of the longest of these tests."""

INSTALLATION_LIMIT = 720
"""Seconds of the longest test that may install packages."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Raise the limit of the tests that wait for an engine, once their folders have marked them."""
    for item in items:
        if any(map(item.get_closest_marker, ENGINES)):
            item.add_marker(pytest.mark.timeout(ENGINE_LIMIT))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Give each fixture that hangs in the teardown the limit of the test."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getvalue("timeout") or item.config.getini("timeout"))
    item.ihook.pytest_timeout_set_timer(item=item, settings=Settings(limit, "signal", False, False))
    signal.setitimer(signal.ITIMER_REAL, limit, limit)
    try:
        return (yield)
    finally:
        item.ihook.pytest_timeout_cancel_timer(item=item)

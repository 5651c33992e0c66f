"""The log: one line per record, whatever is in it."""

import io
import json
import logging

import pytest

from extproc.telemetry import log


@pytest.fixture
def logged():
    """Return a function that sets the log up, logs, and returns the output; restore the root logger afterwards."""
    root, own = logging.getLogger(), logging.getLogger("extproc")
    handlers, level, own_level = root.handlers[:], root.level, own.level

    def run(write, **options):
        stream = io.StringIO()
        log.setup(stream=stream, **options)
        write(logging.getLogger("extproc.some"))
        return stream.getvalue()

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


def fail(logger):
    try:
        raise ZeroDivisionError("two\nlines")
    except ZeroDivisionError:
        logger.exception("it %s", "failed")


def test_a_record_as_text(logged):
    line = logged(lambda logger: logger.warning("hello %d", 7))
    time, level, name, *words = line.split()
    assert time.endswith("Z")
    assert (level, words) == ("WARNING", ["hello", "7"])
    assert name.startswith("extproc.some[")


def test_a_record_as_json(logged):
    record = json.loads(logged(lambda logger: logger.warning("hello %d", 7), form="json"))
    assert record["message"] == "hello 7"
    assert record["level"] == "warning"
    assert record["logger"] == "extproc.some"


def test_a_traceback_is_part_of_its_line(logged):
    line = logged(fail)
    assert line.count("\n") == 1
    assert "ZeroDivisionError: two" in line


def test_a_traceback_in_json(logged):
    record = json.loads(logged(fail, form="json"))
    assert record["message"] == "it failed"
    assert record["exception"].endswith("ZeroDivisionError: two\nlines")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("message", ["two\nlines", "a\r\nb", "\u2028", "\udce9", "\x00\x1b[2J", ""])
def test_a_record_of_any_content_is_one_line(message, form, logged):
    line = logged(lambda logger: logger.error("%s", message), form=form)
    assert len(line.encode().splitlines()) == 1
    assert line.endswith("\n")


def test_records_below_the_level_are_left_out(logged):
    assert logged(lambda logger: logger.info("x"), level="warning") == ""
    assert logged(lambda logger: logger.debug("x"), level="debug") != ""


def test_botocore_never_logs_the_strings_it_signs(logged):
    assert logged(lambda _: logging.getLogger("botocore.auth").debug("secret"), level="debug") == ""


@pytest.mark.parametrize("name", ["hpack.hpack", "aiohttp.client", "h2", "anything"])
def test_debug_is_for_the_gateways_own_records(logged, name):
    library = logging.getLogger(name)
    assert logged(lambda _: library.debug("authorization: secret"), level="debug") == ""
    assert logged(lambda _: library.info("hello"), level="debug") != ""
    assert logged(lambda _: library.info("hello"), level="warning") == ""


def test_a_level_that_there_is_not(logged):
    with pytest.raises(ValueError, match="LOUD"):
        logged(lambda _: None, level="loud")

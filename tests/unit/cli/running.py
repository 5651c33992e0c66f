"""The command line without starting anything: a run of a command, and its error."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

ROOT = Path(__file__).parents[3]

CONFIG = """
region: us-east-1
organisations:
  acme: {models: {allow: ["anthropic.*", "amazon.*"], deny: ["amazon.titan-*"]}}
  research: {}
  closed: {enabled: false}
tokens:
  - {name: ci, sha256: "%s", organisations: [acme, research, closed], expires: 2999-01-01T00:00:00Z}
""" % ("ab" * 32)

Cli = Callable[..., Result]


def is_rejected(result: Result, *words: str) -> bool:
    """Check for a usage error: exit code 2, one message with these words, no traceback."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    for word in words:
        assert word in result.stderr
    return result.stdout == ""

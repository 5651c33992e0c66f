"""Run one target under atheris: `python -m fuzz.child TARGET CORPUS [libFuzzer's options]`.

The gateway is imported under instrumentation, so nothing of it may be imported before.
"""

import logging
import sys

import atheris


def main() -> None:
    """Fuzz until libFuzzer's own limit, which ends the process."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["extproc"]):
        from fuzz.targets import load

        target = load(name)
    logging.disable(logging.CRITICAL)  # a session reports each stream that ends in error
    atheris.Setup([sys.argv[0], *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

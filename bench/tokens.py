"""Measure the file store: the start with many tokens, a lookup, and memory.

Run it as `make bench-tokens`. The tokens are in two files, once as `oai-extproc token create` writes them, and once as
another program may write YAML. A process of its own loads each. The figures are CPU time: this measures the code and
not the machine's other work.
"""

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from extproc import config
from extproc.config.token_entries import entry_lines
from extproc.openai.errors import ApiError
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import Directory

ORGANISATIONS = 100
LOOKUPS = 100_000
ROUNDS = 5


def token(number: int) -> str:
    """Return a token."""
    return f"qc_{number:043}"


def entries(numbers: range) -> Iterator[dict[str, object]]:
    """Yield the entries of tokens; every tenth expires, every hundredth has models and scopes."""
    for number in numbers:
        organisation = f"organisation-{number % ORGANISATIONS}"
        entry: dict[str, object] = {
            "name": f"token-{number}",
            "sha256": digest(token(number)),
            "organisations": [organisation],
        }
        if number % 100 == 0:
            entry |= {"models": {"allow": ["anthropic.*"]}, "scopes": ["chat", "models"]}
        if number % 10 == 0:
            entry["expires"] = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
        yield entry


def usual(numbers: range) -> str:
    """Return a token file as the command writes it."""
    return "tokens:\n" + "".join(map(entry_lines, entries(numbers)))


def other(numbers: range) -> str:
    """Return a token file with a list in blocks, as PyYAML writes it by itself."""
    return str(yaml.dump({"tokens": list(entries(numbers))}, Dumper=yaml.CSafeDumper))


def write(folder: Path, count: int, written: Callable[[range], str]) -> Path:
    """Write a gateway.yaml with two token files; return its path."""
    tokens = folder / "tokens"
    tokens.mkdir(parents=True)
    for name, numbers in (("a", range(count // 2)), ("b", range(count // 2, count))):
        (tokens / f"{name}.yaml").write_text(written(numbers))
    organisations = "".join(f"  organisation-{number}: {{}}\n" for number in range(ORGANISATIONS))
    path = folder / "gateway.yaml"
    path.write_text(f"region: us-east-1\ntokens_from: tokens\norganisations:\n{organisations}")
    return path


def memory() -> float:
    """Return this process's memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def best(authenticate: Callable[[str], object], headers: list[str]) -> float:
    """Return the µs of a lookup, the least of several rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for header in headers:
            authenticate(header)
        times.append(time.process_time() - start)
    return min(times) / len(headers) * 1e6


def measure(path: Path, count: int) -> None:
    """Load the configuration, and print a row of the table."""
    before, start = memory(), time.process_time()
    directory = Directory(config.load(path))
    loaded = time.process_time() - start
    held = memory() - before

    def known(header: str) -> object:
        return directory.authenticate(header, None, 1e9)

    def unknown(header: str) -> object:
        try:
            return directory.authenticate(header, None, 1e9)
        except ApiError as error:
            return error

    headers = [f"Bearer {token(number * 7919 % count)}" for number in range(LOOKUPS)]
    others = [f"Bearer qc_{number:x}" for number in range(LOOKUPS)]
    print(f"{loaded:>10.2f} {held:>10.0f} {best(known, headers):>10.2f} {best(unknown, others):>10.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--load", type=Path, help="load this gateway.yaml, and print the row alone")
    options = parser.parse_args()
    if options.load is not None:
        measure(options.load, options.tokens)
        return
    print(f"{options.tokens:,} tokens        start, s  memory, MB  known, µs  unknown, µs", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, written in (("usual form", usual), ("other YAML", other)):
            path = write(Path(folder, name), options.tokens, written)
            print(f"{name:<16}", end="", flush=True)
            command = [sys.executable, "-m", "bench.tokens", "--tokens", str(options.tokens), "--load", str(path)]
            subprocess.run(command, check=True, timeout=600)


if __name__ == "__main__":
    main()

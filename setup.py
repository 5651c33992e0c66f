"""Record the commit in what is built, and compile the hot packages if asked to; all else is in pyproject.toml.

Wheels and source distributions contain the commit as extproc/commit.txt, which `oai-extproc --version` prints.

`OAI_EXTPROC_COMPILE=1` builds the hot packages as machine code; `make wheel-compiled` does so.

mypyc, a part of mypy, translates the same typed Python to C, and a C compiler makes extension modules of that. They are
installed beside the Python files, and imported instead of them. Only the speed changes; the tests run on both.
It needs mypy, the dependencies and their types, and a C compiler, so, in a virtual environment:

    pip install '.[envoy,compile]'
    OAI_EXTPROC_COMPILE=1 pip install --no-deps --no-build-isolation --force-reinstall .

Without a C compiler, CC="python -m ziglang cc" and LDSHARED="$CC -shared" are one.

Decisions: docs/decisions.md, D49, D148.
"""

import os
import runpy
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
BUILD = runpy.run_path(str(HERE / "extproc" / "build.py"))
"""What the package itself knows of its build; it cannot be imported here, without its dependencies."""

INTERPRETED = {
    "": "__main__ build cl100k_base json_values net proxy shared_names value",
    "bedrock": "capabilities capability_table converse converse_response credentials endpoints errors invoke listing "
    "model_ids seed",
    "exchange": "call_series chat_endpoint directives embeddings_endpoint endpoint events jobs local_replies "
    "responses_endpoint side_calls translation usage",
    "limits": "",
    "openai": "chat embeddings limits messages models passed_over response_items responses unknown usage_page "
    "usage_query",
    "telemetry": "ledger_line lines log",
    "tenancy": "",
    "translate": "chat_completion documents embeddings errors fitting grammar lazy_base64 property_names "
    "response_fields response_shape responses_tools rules schema_nulls schema_root schemas sealed_reasoning "
    "structured",
    "transport": "auto ext_proc_pb2 grpcio health health_protocol large listen probe service",
    "transport/http2": "server",
}
"""The hot packages, and their modules that stay Python: those with classes for msgspec, asyncio or grpcio, which
need Python's own classes; those that recurse as deep as their input, where Python's limit of recursion is a safeguard;
and those in which no request spends time. All other modules are compiled."""


def compiled() -> list[str]:
    """Return the files to compile."""
    files = []
    for package, names in INTERPRETED.items():
        interpreted = {"__init__", *names.split()}
        files += [path for path in sorted(Path("extproc", package).glob("*.py")) if path.stem not in interpreted]
    return [path.as_posix() for path in files]


def extensions() -> list[object]:
    """Return the extension modules, or none."""
    if os.environ.get("OAI_EXTPROC_COMPILE", "0") != "1" or "bdist_wheel" not in sys.argv:
        return []
    try:
        from mypyc.build import mypycify
    except ModuleNotFoundError:
        sys.exit("OAI_EXTPROC_COMPILE=1 needs mypy beside setuptools: pip install mypy, and --no-build-isolation")
    made = mypycify(compiled(), opt_level="2", debug_level="0")
    for extension in made:
        extension.extra_compile_args.append("-fvisibility=hidden")
    return made


def record_commit(folder: str) -> None:
    """Record the commit in the copy of the package in `folder`. A source distribution has its own record."""
    package = Path(folder, "extproc")
    commit = BUILD["recorded"](HERE / "extproc") or BUILD["commit_of"](HERE)
    (package / BUILD["RECORD"]).unlink(missing_ok=True)  # an earlier build's
    if commit:
        (package / BUILD["RECORD"]).write_text(f"{commit}\n")


class BuildPackages(build_py):
    """Copies the packages into what becomes a wheel. An editable installation has its checkout, and needs no record."""

    def run(self) -> None:
        """Copy them, and record the commit."""
        super().run()
        if not self.editable_mode:
            record_commit(self.build_lib)


class SourceDistribution(sdist):
    """Makes the folder that becomes a source distribution."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Make it, and record the commit."""
        super().make_release_tree(base_dir, files)
        record_commit(base_dir)


setup(ext_modules=extensions(), cmdclass={"build_py": BuildPackages, "sdist": SourceDistribution})

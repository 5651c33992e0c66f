"""A worker whose every await, function and directive on the serving path can be made to fail. A program for tests.

`python worker.py CONTROL PORT [--clean-ends] WORKER-OPTIONS…` runs `extproc.worker.command` after it has put a call
before and behind each await of the modules of `extproc` that it loads (at the start of the bodies of `async with` and
`async for` as well), and at the start of each function of those that carry an exchange. CONTROL is the path of a unix
socket on which the test chooses where the next failure is; PORT is that of images on this machine; `--clean-ends` adds
the bug that all this is to find: a stream that ends cleanly after a failure.
"""

import ast
import asyncio
import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
import threading
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from multiprocessing.connection import Listener
from types import CodeType, ModuleType
from typing import Any

FUNCTIONS = (
    "extproc.exchange.call",
    "extproc.exchange.chat_endpoint",
    "extproc.exchange.counting",
    "extproc.exchange.embeddings_endpoint",
    "extproc.exchange.entry",
    "extproc.exchange.exchange",
    "extproc.exchange.image_fetch",
    "extproc.exchange.outcome",
    "extproc.exchange.responses",
    "extproc.exchange.sending",
    "extproc.transport.grpcio",
    "extproc.transport.http2.server",
    "extproc.transport.http2.session",
    "extproc.transport.large",
    "extproc.transport.stream",
    "extproc.transport.wire",
)
"""Modules whose functions may fail where they begin: here a failure meets the driver without any await."""


class Faults:
    """The place of the next failure, and the places passed since the last request for them."""

    def __init__(self) -> None:
        self.sites: set[str] = set()
        self.passed: dict[str, int] = {}
        self.armed: list[tuple[str, int, str]] = []
        self.fired = 0

    def at(self, site: str, when: str = "before") -> None:
        """Fail here, if that is what was chosen."""
        if when == "before":
            self.passed[site] = self.passed.get(site, 0) + 1
        if not self.armed:
            return
        armed, number, kind = self.armed[0]
        if site != armed or not kind.endswith(when) or self.passed[site] != number:
            return
        del self.armed[0]
        self.fired += 1
        raise asyncio.CancelledError if kind.startswith("cancelled") else RuntimeError(f"injected {kind} {site}")

    async def around(self, site: str, awaitable: Any) -> Any:
        """Await it; fail before or after that."""
        try:
            self.at(site)
        except BaseException:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            raise
        result = await awaitable
        self.at(site, "after")
        return result

    def serve(self, path: str) -> None:
        """Do what the test sends, in a thread of its own."""
        with Listener(path, "AF_UNIX") as listener, listener.accept() as connection:
            while True:
                try:
                    command, *arguments = connection.recv()
                except EOFError:
                    return
                connection.send(getattr(self, f"do_{command}")(*arguments))

    def do_sites(self) -> set[str]:
        return self.sites

    def do_arm(self, *failures: tuple[str, int, str]) -> None:
        self.passed, self.fired = {}, 0
        self.armed = list(failures)

    def do_disarm(self) -> tuple[int, dict[str, int]]:
        self.armed = []
        return self.fired, self.passed


FAULTS = Faults()


class Instrument(ast.NodeTransformer):
    """Puts calls of `FAULTS` into a module."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._names: list[str] = []

    def _site(self, node: Any, what: str) -> ast.Constant:
        site = f"{self._module}:{'.'.join(self._names)}:{node.lineno}:{what}"
        FAULTS.sites.add(site)
        return ast.Constant(site)

    def _call(self, name: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _inside(self, node: Any) -> Any:
        self._names.append(node.name)
        self.generic_visit(node)
        self._names.pop()
        return node

    def _function(self, node: Any) -> ast.AST:
        first = node.body[0]
        node = self._inside(node)
        if self._module in FUNCTIONS and node.name != "__init__":
            described = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            self._names.append(node.name)
            node.body.insert(int(described), ast.Expr(self._call("__fault__", self._site(node, "call"))))
            self._names.pop()
        return node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        what = "await " + ast.unparse(node.value).partition("\n")[0][:60]
        self.generic_visit(node)
        node.value = self._call("__around__", self._site(node, what), node.value)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> Any:
        before, within = (self._site(node, f"async with, {place}") for place in ("before", "within"))
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self._call("__fault__", within)))
        return [ast.Expr(self._call("__fault__", before)), node]

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        within = self._site(node, "async for, within")
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self._call("__fault__", within)))
        return node


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from its source, instrumented. Images may come from this machine, at one port."""

    public_port = 0

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Instrument(fullname).visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec")

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if module.__name__ == "extproc.transport.stream":
            watch_directives(module)
        if module.__name__ == "extproc.worker.image_fetcher":
            allowed = {"ports": frozenset({self.public_port}), "allow": [ip_network("127.0.0.1")]}
            module.Fetcher.__init__.__kwdefaults__.update(allowed)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of `extproc` before Python does."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname.partition(".")[0] != "extproc":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = Loader(fullname, spec.origin)
        return spec


def watch_directives(module: Any) -> None:
    """Make each kind of directive and of event a place to fail, before it is acted on and after."""
    stream = module.ExtProcStream
    apply, dispatch = stream._apply, stream._dispatch

    def applied(self: Any, directives: Iterable[Any]) -> Any:
        kinds = [f"directive:{type(directive).__name__}" for directive in directives]
        for kind in kinds:
            FAULTS.at(f"{kind}:not said")
        pending_job = apply(self, directives)
        for kind in kinds:
            FAULTS.at(f"{kind}:said")
        return pending_job

    def dispatched(self: Any, event: Any) -> None:
        FAULTS.at(f"event:{type(event).__name__}:not told")
        dispatch(self, event)
        FAULTS.at(f"event:{type(event).__name__}:told")

    stream._apply, stream._dispatch = applied, dispatched


def end_cleanly() -> None:
    """The bug: what fails ends the gRPC stream with OK."""
    from extproc.transport import grpcio
    from extproc.transport.http2.framing import Status
    from extproc.transport.http2.session import Session

    async def nothing(self: Any, error: Exception) -> None:
        return None

    grpcio._Call.abort = nothing  # type: ignore[method-assign]
    Session._end_in_error = lambda self, call, error: self._end(call, Status.OK, "")  # type: ignore[method-assign]


def assume_at_once() -> None:
    """Assume every role without a process and without STS, which take longer than this Envoy waits for a message."""
    from extproc.aws.credentials import ResolvedCredentials
    from extproc.aws.lookup import AwsLookups
    from extproc.bedrock.credentials import Credentials
    from extproc.bedrock.seed import seed

    def assume(self: Any, region: str, role: Any) -> Any:
        return ResolvedCredentials(Credentials("ASIATEST", "role-secret", "token"), role.arn)

    AwsLookups.assume = assume  # type: ignore[method-assign]
    AwsLookups.models_as = lambda self, region, keys: seed(region)  # type: ignore[method-assign]


def main() -> None:
    """Instrument, then be a worker."""
    control, port, *options = sys.argv[1:]
    Loader.public_port = int(port)
    builtins.__fault__ = FAULTS.at  # type: ignore[attr-defined]
    builtins.__around__ = FAULTS.around  # type: ignore[attr-defined]
    sys.meta_path.insert(0, Finder())
    threading.Thread(target=FAULTS.serve, args=(control,), daemon=True).start()
    if "--clean-ends" in options:
        options.remove("--clean-ends")
        end_cleanly()
    assume_at_once()
    sys.argv = ["worker", *options]
    runpy.run_module("extproc.worker.command", run_name="__main__")


if __name__ == "__main__":
    main()

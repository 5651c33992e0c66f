"""The job runner's lazy start: a worker without side calls never imports it."""

import asyncio
import subprocess
import sys

import pytest
from aiohttp import web

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import Fetch, FetchFailure, SideCall, SideCalls
from extproc.worker.job_runner import JobRunner
from extproc.worker.trust import TrustError

SECONDS = 60.0


@pytest.fixture
async def endpoint():
    async def reply(request):
        return web.Response(text=request.path)

    application = web.Application()
    application.router.add_post("/{any}", reply)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield Endpoint("http", "127.0.0.1", runner.addresses[0][1])
    await runner.cleanup()


def job(*paths):
    return SideCalls(tuple(SideCall(path, (), b"{}") for path in paths), 2, 30)


async def test_jobs_that_come_at_once_share_one_http_runner(endpoint):
    async with JobRunner(endpoint) as run_job:
        results = await asyncio.gather(*(run_job(job(f"/{index}"), SECONDS) for index in range(5)))
    assert [reply.body for (reply,) in results] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


async def test_a_job_cancelled_in_the_meantime_does_not_disturb_the_next(endpoint):
    async with JobRunner(endpoint) as run_job:
        first = asyncio.create_task(run_job(job("/a"), SECONDS))
        await asyncio.sleep(0)
        first.cancel()
        (reply,) = await run_job(job("/b"), SECONDS)
    assert reply.body == b"/b"


async def test_unreadable_authorities_are_reported_at_the_start(tmp_path):
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("no certificate")
    for path in (nonsense, tmp_path / "nowhere.pem"):
        with pytest.raises(TrustError, match=r"ca\.pem|nowhere\.pem"):
            async with JobRunner(Endpoint("https", "localhost", 1), {"AWS_CA_BUNDLE": str(path)}):
                pass


@pytest.mark.parametrize("library", ["aiohttp", "grpc", "boto3", "botocore.session"])
def test_a_worker_imports_optional_modules_only_when_needed(library):
    program = f"import sys, extproc.worker.command, extproc.worker.process; print({library!r} in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


async def test_networks_that_are_denied_are_not_fetched_from(endpoint):
    async with JobRunner(endpoint, deny=["8.8.8.0/24"]) as run_job:
        failure = await run_job(Fetch(("http://8.8.8.8/a.png",), 1_000, 1_000, 1), SECONDS)
    assert isinstance(failure, FetchFailure)
    assert (failure.code, "8.8.8.8 (denied)" in failure.reason) == ("invalid_image_url", True)

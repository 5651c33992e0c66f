"""The formulas that lead from memory and open files to limits."""

import pytest

from extproc.config import LimitSettings, parse
from extproc.config.capacity import (
    ENVOY_BASE,
    ENVOY_PER_BYTE,
    FILES_PER_CALL,
    LEAST_BYTES,
    MIB,
    OWN_FILES,
    STREAM_BYTES,
    WORKER_BASE,
    WORKER_PER_BYTE,
    Memory,
    connections,
    envoy_memory,
    health_connections,
    in_flight_bytes,
    most_files,
    organisation_bytes,
    stream_bytes,
)

GIB = 1024 * MIB


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("memory", [Memory(2 * GIB), Memory(16 * GIB), Memory(2 * GIB, GIB), Memory(16 * GIB, GIB)])
def test_the_bytes_in_flight_fit_into_the_memory(memory: Memory, workers: int) -> None:
    whole = in_flight_bytes(LimitSettings(), memory, workers) * workers
    envoy, others = envoy_memory(whole), workers * WORKER_BASE + whole * WORKER_PER_BYTE
    if memory.envoy is None:
        assert envoy + others <= memory.worker
        assert envoy + others > memory.worker - 100  # and all of it is used
    else:
        assert envoy <= memory.envoy
        assert others <= memory.worker


@pytest.mark.parametrize("memory", [Memory(1), Memory(WORKER_BASE + ENVOY_BASE), Memory(GIB, 1)])
def test_with_hardly_any_memory_there_is_a_little_for_each_worker(memory: Memory) -> None:
    assert in_flight_bytes(LimitSettings(), memory, 4) == LEAST_BYTES


def test_a_number_is_for_all_workers_together() -> None:
    limits = parse(b"limits: {in_flight_bytes: 100000000, organisation_in_flight_bytes: 40000000}").limits
    assert in_flight_bytes(limits, Memory(1), 4) == 25_000_000
    assert organisation_bytes(limits, 25_000_000, 4, 3) == 10_000_000
    assert organisation_bytes(limits, 5_000_000, 4, 3) == 5_000_000


@pytest.mark.parametrize("files", [1024, 4096, 65_536, 2**20])
@pytest.mark.parametrize("whole", [MIB, 64 * MIB, GIB, 1024 * GIB])
def test_no_more_calls_are_in_flight_than_there_are_files_for(whole: int, files: int) -> None:
    counted = stream_bytes(whole, files)
    assert whole // counted <= connections(files)
    assert counted == STREAM_BYTES or whole // (counted - 1) >= connections(files) - 1  # and no fewer


@pytest.mark.parametrize(("organisations", "share"), [(0, 500), (1, 1000), (2, 500), (50, 500)])
def test_several_organisations_have_a_half_each(organisations: int, share: int) -> None:
    assert organisation_bytes(LimitSettings(), 1000, 1, organisations) == share


def test_envoys_memory_is_its_base_and_the_bytes_in_flight() -> None:
    assert envoy_memory(100 * MIB) == ENVOY_BASE + 100 * MIB * ENVOY_PER_BYTE


@pytest.mark.parametrize(
    ("files", "limit"), [(10, 1), (512, 128), (1024, 384), (65_536, 20_000), (1_048_576, 20_000), (2**40, 20_000)]
)
def test_each_connection_has_a_file_for_its_call(files: int, limit: int) -> None:
    assert connections(files) == limit


def test_so_many_files_are_enough_and_not_one_less() -> None:
    assert connections(most_files()) == 20_000
    assert connections(most_files() - 2) < 20_000


@pytest.mark.parametrize("files", [1024, 4096, 40_000, 41_000, 65_536])
def test_calls_and_the_health_listener_have_different_files(files: int) -> None:
    assert 128 <= health_connections(files) <= 1_000
    assert FILES_PER_CALL * connections(files) + health_connections(files) + OWN_FILES <= files

"""The order in which organisations and their tokens have large requests translated."""

import asyncio

from extproc.worker.translator import Turns


async def test_organisations_take_turns() -> None:
    turns, order = Turns(), list[str]()

    async def work(organisation: str) -> None:
        turn = turns.next(organisation)
        await turn.begun
        order.append(organisation)
        await asyncio.sleep(0)
        turns.end(turn)

    await asyncio.gather(*(work(name) for name in ("a", "a", "a", "a", "b", "c", "b")))
    assert order == ["a", "a", "b", "c", "a", "b", "a"]
    assert turns.current is None


async def test_tokens_of_an_organisation_take_turns() -> None:
    turns, order = Turns(), list[str]()

    async def work(organisation: str, token: str) -> None:
        turn = turns.next(organisation, token)
        await turn.begun
        order.append(organisation + token)
        await asyncio.sleep(0)
        turns.end(turn)

    calls = ("a1", "a1", "a1", "a2", "b1", "b1", "a3", "a2")
    await asyncio.gather(*(work(*name) for name in calls))
    assert order == ["a1", "a1", "b1", "a2", "b1", "a3", "a1", "a2"]
    assert turns.current is None


async def test_a_cancelled_turn_passes_to_the_next() -> None:
    turns = Turns()
    first, second, third = (turns.next(name) for name in ("a", "b", "c"))
    turns.end(second)
    assert second.begun.cancelled()
    assert not third.begun.done()
    turns.end(first)
    assert third.begun.done()
    assert turns.current is third
    turns.end(third)
    assert turns.current is None

"""The queue in which callers take turns."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from extproc.transport.turns import FairQueue

TURNS = st.tuples(st.sampled_from(["", "acme", "beta"]), st.sampled_from(["one", "two"]))
STEPS = st.lists(st.one_of(TURNS, st.just("take"), st.integers(0, 30)), max_size=60)
"""Whose turn something new has, the next one, or which of those that wait leaves."""


class Watched:
    """A queue, and a model of it: what waits, and who was served since."""

    def __init__(self):
        self.queue, self.waiting, self.number = FairQueue(), {}, 0
        self.served_since = defaultdict(set)
        """Organisations, and callers, that were served since this one waits: each once."""

    def put(self, turn):
        self.queue.put(turn, self.number)
        self.waiting[self.number] = turn
        self.number += 1

    def take(self):
        number = self.queue.take()
        turn = self.waiting.pop(number)
        assert all(number < other for other, of in self.waiting.items() if of == turn), "in their order"
        self._serve(turn[0], {of for of, _ in self.waiting.values()})
        self._serve(turn, {of for of in self.waiting.values() if of[0] == turn[0]})

    def leave(self, number):
        turn = self.waiting.pop(number)
        self.queue.discard(turn, number)
        if turn not in self.waiting.values():
            self.served_since.pop(turn, None)
        if turn[0] not in {of for of, _ in self.waiting.values()}:
            self.served_since.pop(turn[0], None)

    def _serve(self, key, waiting):
        for other in waiting - {key}:
            assert key not in self.served_since[other], "a second time, while the other one waits"
            self.served_since[other].add(key)
        self.served_since.pop(key, None)


@given(STEPS)
def test_everything_is_taken_once_and_nobody_waits_longer_than_a_round(steps):
    watched = Watched()
    for step in [*steps, *["take"] * len(steps)]:
        if step == "take":
            if watched.waiting:
                watched.take()
        elif not isinstance(step, int):
            watched.put(step)
        elif step in watched.waiting:
            watched.leave(step)
        assert len(watched.queue) == len(watched.waiting)
    assert not watched.waiting
    assert not watched.queue._organisations, "nothing is kept of those who have left"


def taken_by(queue):
    """All that is left, in its order."""
    return [queue.take() for _ in range(len(queue))]


def test_organisations_take_turns_and_of_each_its_tokens():
    queue = FairQueue()
    for number in range(6):
        queue.put(("acme", "one"), f"a1-{number}")
    queue.put(("acme", "two"), "a2")
    queue.put(("beta", "one"), "b")
    queue.put(("", "192.0.2.1"), "x")
    assert taken_by(queue) == ["a1-0", "b", "x", "a2", "a1-1", "a1-2", "a1-3", "a1-4", "a1-5"]


def test_who_leaves_makes_nobody_lose_a_place():
    queue = FairQueue()
    for organisation in ("acme", "beta", "third"):
        for number in range(2):
            queue.put((organisation, ""), f"{organisation}-{number}")
    queue.discard(("acme", ""), "acme-0")
    queue.discard(("beta", ""), "beta-0")
    queue.discard(("beta", ""), "beta-1")
    assert taken_by(queue) == ["acme-1", "third-0", "third-1"]

"""A reader of fuzzed bytes as choices and pieces, for inputs that have to be built rather than mutated."""


class Choices:
    """Bytes read from the front; past the end everything is 0 or empty, so that any input is a whole one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        """Return whether there are unread bytes."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """Return the next byte."""
        return (self.take(1) or b"\0")[0]

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        return self.byte() % limit

    def piece(self) -> bytes:
        """Return a piece that is preceded by its length in one byte."""
        return self.take(self.byte())

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, or as many as there are."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """Return everything that has not been read."""
        return self.take(len(self._data))


def single_bytes(data: bytes) -> list[bytes]:
    """Return `data` cut into its bytes."""
    return [data[at : at + 1] for at in range(len(data))]

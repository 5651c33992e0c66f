"""The fields of a request that are accepted and change nothing, as the header `x-oai-ignored-params` names them."""


class Ignored:
    """A collection of the ignored fields of one request, each once, in the order of their discovery.

    A field is named by its path from the request's root, with `[]` for any element of a list, as in `seed`,
    `tools[].function.strict` or `messages[].content[].image_url.detail`.
    """

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}

    def add(self, *paths: str) -> None:
        """Add fields."""
        for path in paths:
            self._paths[path] = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields."""
        return tuple(self._paths)

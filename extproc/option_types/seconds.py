"""A click parameter type for a number of seconds."""

import click

_YEAR = 31_536_000


class _Seconds(click.ParamType[float]):
    """A number from 0 to a year. Unlike `click.FloatRange`, it rejects infinity and NaN."""

    name = "seconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to seconds; a failure is a usage error."""
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = -1
        if not 0 <= seconds <= _YEAR:
            self.fail(f"{value} is not a number of seconds from 0 to {_YEAR} (a year)", param, ctx)
        return seconds


SECONDS = _Seconds()

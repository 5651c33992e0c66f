"""Parameter types of the commands of `token`."""

import datetime
import re

import click

_DAYS = re.compile(r"^(\d{1,4})d$")
_DURATION = re.compile(r"^(\d{1,4})([dhm])$")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def now() -> datetime.datetime:
    """Return this second in UTC."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


class _Moment(click.ParamType[datetime.datetime]):
    """`2027-01-01`, `2027-01-01T12:00:00Z`, or `90d` from now."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """Convert to a time in UTC; a failure is a usage error."""
        if isinstance(value, datetime.datetime):
            return value
        days = _DAYS.match(str(value))
        if days:
            return now() + datetime.timedelta(days=int(days[1]))
        try:
            moment = datetime.datetime.fromisoformat(str(value))
            return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time: write 2027-01-01, 2027-01-01T12:00:00Z, or 90d", param, ctx)


class _Duration(click.ParamType[datetime.timedelta]):
    """`7d`, `12h` or `30m`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.timedelta:
        """Convert to a duration; a failure is a usage error."""
        if isinstance(value, datetime.timedelta):
            return value
        match = _DURATION.match(str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration: write days, hours or minutes, as in 7d, 12h or 30m", param, ctx)
        return datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})


class _Several(click.ParamType[tuple[str, ...]]):
    """Words with commas between them."""

    name = "list"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split at the commas."""
        if isinstance(value, tuple):
            return value
        return tuple(word.strip() for word in str(value).split(",") if word.strip())


MOMENT, DURATION, SEVERAL = _Moment(), _Duration(), _Several()

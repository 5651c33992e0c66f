"""A click parameter type for an amount of memory."""

import re

import click

_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}
_LEAST = 2**26


class _Size(click.ParamType[int]):
    """A number of bytes as Kubernetes writes it: 1073741824, 1024Mi, 1Gi, 1G."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert to bytes; a failure is a usage error."""
        match = re.fullmatch(r"([0-9]{1,15})(Ki|Mi|Gi|k|M|G|)", str(value))
        size = int(match[1]) * _UNITS[match[2]] if match else 0
        if not _LEAST <= size <= 2**40:
            self.fail(f"{value} is not an amount of memory from 64Mi to 1024Gi: write bytes, 512Mi or 1Gi", param, ctx)
        return size


SIZE = _Size()

"""The error for an extra that is not installed. It names no index, where the package's name is not ours."""

from extproc.build import in_image
from extproc.cli.parameters import UserError


def not_installed(what: str, extra: str, otherwise: str = "") -> UserError:
    """Return the error that `what`, which the extra brings, is not installed; `otherwise` is a way to do without."""
    remedy = (
        "this image is without it (docs/docker.md)"
        if in_image()
        else f"install oai-extproc from its wheel or checkout with the extra `{extra}`, as in "
        f"`pip install '.[{extra}]'` in the checkout (docs/install.md)"
    )
    return UserError(f"{what} is not installed: {remedy}{otherwise and f'. {otherwise}'}")

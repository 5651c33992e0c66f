"""The fetch of one request's images from http(s) URLs, within their limit of bytes."""

from collections.abc import Mapping

from extproc.config import MediaSettings
from extproc.exchange.jobs import Fetch, FetchedImages, FetchFailure
from extproc.openai.errors import invalid
from extproc.translate.media import MAX_REMOTE_IMAGES, RemoteImage


class ImageFetch:
    """The images of a request. An image counts as often as the request names it."""

    def __init__(self, remote: Mapping[str, RemoteImage], media: MediaSettings, organisation: str, most: int) -> None:
        """Plan to fetch `remote` images, which may have `most` bytes in all. Raises `ApiError` if they are too many."""
        self._remote = remote
        self._urls = tuple(remote)
        if len(self._urls) > MAX_REMOTE_IMAGES:
            message = f"At most {MAX_REMOTE_IMAGES} images of a request are fetched: send the others as data: URLs."
            raise invalid(message, remote[self._urls[MAX_REMOTE_IMAGES]].path, "too_many_images")
        uses = sum([image.uses for image in remote.values()])
        self._most = max(0, min(media.total_bytes, uses * media.max_bytes, most))
        self.job = Fetch(self._urls, media.max_bytes, self._most, media.concurrency, organisation)

    def receive(self, result: FetchedImages | FetchFailure) -> tuple[dict[str, bytes], int]:
        """Return the images by URL, and the bytes that all uses of them have.

        Raises a 400 at the path of its URL for an image that could not be fetched, or whose uses have too many bytes.
        """
        if isinstance(result, FetchFailure):
            raise invalid(result.reason, self._remote[self._urls[result.index]].path, result.code)
        total = 0
        images: dict[str, bytes] = {}
        for url, image in zip(self._urls, result, strict=True):
            remote = self._remote[url]
            total += remote.uses * len(image.data)
            if total > self._most:
                message = (
                    f"The images of this request together have more than {self._most} bytes: an image that is repeated "
                    "counts each time. Send fewer, or smaller ones."
                )
                raise invalid(message, remote.path, "image_too_large")
            images[url] = image.data
        return images, total

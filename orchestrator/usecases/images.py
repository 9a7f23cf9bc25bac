"""Pictures that are uploaded once and prompted many times."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from orchestrator.domain import image as images
from orchestrator.domain.errors import NotFound
from orchestrator.domain.image import Image, Limits
from orchestrator.usecases.ports.state import ImageRows, PictureFiles, StoredImage

Clock = Callable[[], datetime]


class Images:
    """An id is opaque and its owner's alone; equal content is stored once and goes when its last row goes."""

    def __init__(
        self,
        rows: ImageRows,
        files: PictureFiles,
        limits: Limits,
        clock: Clock = lambda: datetime.now(UTC),
        forget: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`forget`: drops what was made of a content; called when its last row is gone."""
        self._rows = rows
        self._files = files
        self._limits = limits
        self._clock = clock
        self._forget = forget

    def add(self, data: bytes, owner: str) -> StoredImage:
        """Check that it is a picture, and keep it. Raises what `image.decode` raises, and `StorageFull`."""
        return self._keep(data, owner, images.decode(data, self._limits))

    def hold(self, data: bytes, owner: str) -> StoredImage:
        """Keep a job's picture: its header is looked at now, the rest by whoever does the job.

        Raises what `image.glance` raises, and `StorageFull`.
        """
        return self._keep(data, owner, images.glance(data, self._limits))

    def share(self, image_id: str, owner: str) -> StoredImage:
        """A hold of its own on a picture, for a job: it stays when `image_id` goes. Raises `NotFound`."""
        found = self.get(image_id, owner)
        with self._rows.exclusive(found.content) as rows:
            if rows.any() is None:
                raise NotFound("The image has just been deleted. Upload it again with POST /images.")
            shared = replace(found, id=secrets.token_urlsafe(16), created_at=self._clock())
            rows.add(shared)
        return shared

    def release(self, image_id: str | None, owner: str) -> None:
        """Give up a hold, if there is one."""
        if image_id is not None:
            with suppress(NotFound):
                self.remove(image_id, owner)

    def _keep(self, data: bytes, owner: str, picture: Image) -> StoredImage:
        content = picture.content
        now = self._clock()
        with self._rows.exclusive(content) as rows:
            twin = rows.any()
            stored = StoredImage(
                id=secrets.token_urlsafe(16),
                owner=owner,
                content=content,
                path=twin.path if twin else f"{now:%Y/%m/%d}/{content}",
                width=picture.width,
                height=picture.height,
                bytes=len(data),
                created_at=now,
            )
            if not twin:
                self._files.write(stored.path, data)
            rows.add(stored)
        return stored

    def get(self, image_id: str, owner: str) -> StoredImage:
        """Raises `NotFound`, also for somebody else's."""
        stored = self._rows.get(image_id)
        if stored is None or stored.owner != owner:
            raise NotFound("There is no image of this id; it may have been deleted. Upload it with POST /images.")
        return stored

    def read(self, image_id: str, owner: str) -> bytes:
        """The bytes as they were uploaded. Raises `NotFound`."""
        return self._files.read(self.get(image_id, owner).path)

    def open(self, image_id: str, owner: str) -> Image:
        """Its file is read and decoded when somebody needs its pixels. Raises `NotFound`."""
        stored = self.get(image_id, owner)

        def load() -> Image:
            return images.decode(self._files.read(stored.path), self._limits)

        return Image.later((stored.height, stored.width), stored.content, load)

    def remove(self, image_id: str, owner: str) -> None:
        """Raises `NotFound`, and `Unavailable` if it is gone but a cache that may know it does not answer."""
        stored = self.get(image_id, owner)
        with self._rows.exclusive(stored.content) as rows:
            rows.remove(image_id)
        # A transaction of its own: the file goes only when the row is gone for good, and nobody has added it again.
        with self._rows.exclusive(stored.content) as rows:
            if rows.any() is not None:
                return
            self._files.remove(stored.path)
        self._forget(stored.content)

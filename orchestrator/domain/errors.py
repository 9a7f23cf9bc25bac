"""What can go wrong, in the service's own words. Nothing here knows HTTP: `api/errors.py` has the table to statuses.

QuarryError
├── InvalidPicture            decodable by nobody: truncated, empty, corrupt
├── UnsupportedPicture        not a picture, or of a format or mode that is not served
├── PictureTooLarge           more bytes or pixels than the limits allow
├── InvalidPrompt             points, labels, boxes or masks that make no sense on this picture
├── NotFound                  no such image, job or model name
├── ModelMissing              a known model that the repository does not hold (yet)
├── Unavailable               a part is away or still loading: try again
│   ├── ModelNotLoaded        the encoder does not have the model at hand
│   ├── Overloaded            too much at once: try again
│   └── QueueFull             more jobs are waiting than may
├── Conflict                  not in this state: a result before its time, a key that means something else
├── InvalidCallback           an address that results are not told to
├── InvalidBatch              no pictures, too many, or an archive that is none
├── DeadlineExceeded          it took longer than it may
└── StorageFull               the disk has no room
"""

import re
from typing import ClassVar


class QuarryError(Exception):
    """`detail` is one sentence for the person who called: what is wrong and what to do; `code` is for programs."""

    code: ClassVar[str]

    def __init_subclass__(cls, code: str = "") -> None:
        cls.code = code or re.sub(r"(?<!^)([A-Z])", r"_\1", cls.__name__).lower()

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidPicture(QuarryError):
    pass


class UnsupportedPicture(QuarryError):
    pass


class PictureTooLarge(QuarryError, code="too_large"):
    pass


class InvalidPrompt(QuarryError):
    pass


class NotFound(QuarryError):
    pass


class ModelMissing(QuarryError):
    pass


class Unavailable(QuarryError):
    """`retry_after`: seconds until another try is worth it."""

    def __init__(self, detail: str, retry_after: int = 2) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ModelNotLoaded(Unavailable, code="unavailable"):
    pass


class Overloaded(Unavailable):
    pass


class QueueFull(Unavailable):
    pass


class Conflict(QuarryError):
    pass


class InvalidCallback(QuarryError):
    pass


class InvalidBatch(QuarryError):
    pass


class DeadlineExceeded(QuarryError):
    pass


class StorageFull(QuarryError):
    pass

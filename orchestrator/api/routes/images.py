"""`/images`: upload once, prompt many times."""

from typing import Annotated

from fastapi import APIRouter, File, UploadFile

from orchestrator.api import errors, inputs, schemas
from orchestrator.api.inputs import OWNER, Wired
from orchestrator.api.schemas import StoredImageBody
from orchestrator.domain.errors import InvalidPicture, NotFound, PictureTooLarge, StorageFull, UnsupportedPicture

router = APIRouter(prefix="/images", tags=["images"])


@router.post(
    "",
    status_code=201,
    responses=errors.responses(InvalidPicture, PictureTooLarge, UnsupportedPicture, StorageFull),
)
def upload(services: Wired, image: Annotated[UploadFile, File(description="The picture.")]) -> StoredImageBody:
    """Keep a picture; give its id as `image_id` to any segment route."""
    return schemas.stored_image_body(services.images.add(inputs.read(image, services), OWNER))


@router.get("/{image_id}", responses=errors.responses(NotFound))
def details(services: Wired, image_id: str) -> StoredImageBody:
    return schemas.stored_image_body(services.images.get(image_id, OWNER))


@router.delete("/{image_id}", status_code=204, responses=errors.responses(NotFound))
def remove(services: Wired, image_id: str) -> None:
    """Forget the picture."""
    services.images.remove(image_id, OWNER)

"""`/models`: what can be asked for, and what is at hand."""

from fastapi import APIRouter

from orchestrator.api import errors, schemas
from orchestrator.api.inputs import Wired
from orchestrator.api.schemas import ModelsBody, ModelStatusBody
from orchestrator.domain.errors import ModelMissing, NotFound

router = APIRouter(prefix="/models", tags=["models"], responses=errors.responses(NotFound))


@router.get("", include_in_schema=False)
@router.get("/")
def models(services: Wired) -> ModelsBody:
    """All variants and their state."""
    statuses = [schemas.model_status_body(status) for status in services.models.list()]
    return ModelsBody(default=services.settings.default_model, models=statuses)


@router.get("/{name}")
def details(services: Wired, name: str) -> ModelStatusBody:
    return schemas.model_status_body(services.models.status(name))


@router.post("/{name}/load", responses=errors.responses(NotFound, ModelMissing))
def load(services: Wired, name: str) -> ModelStatusBody:
    """Have Triton load the model, or load it anew."""
    return schemas.model_status_body(services.models.load(name))


@router.delete("/{name}/unload", responses=errors.responses(NotFound, ModelMissing))
def unload(services: Wired, name: str) -> ModelStatusBody:
    """Have Triton unload the model; the next request that names it loads it again."""
    return schemas.model_status_body(services.models.unload(name))

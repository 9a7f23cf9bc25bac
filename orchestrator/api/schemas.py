"""The wire's shapes."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from orchestrator.domain.job import Job, Kind, Priority, Status
from orchestrator.domain.masks import Mask
from orchestrator.usecases.models import ModelStatus
from orchestrator.usecases.objects import StoredExtraction
from orchestrator.usecases.ports.state import StoredImage, Tally
from orchestrator.usecases.segment import Segmentation

Timings = dict[str, float | Literal["hit", "miss"]]


class RleBody(BaseModel):
    """COCO's run-length encoding, as pycocotools reads it."""

    size: tuple[int, int] = Field(description="Height and width of the picture.", examples=[[853, 1280]])
    counts: str = Field(examples=["[Qm05m01N2O1O0O2N1O00"])


class MaskBody(BaseModel):
    """The official automatic generator's record, by its own names."""

    segmentation: RleBody
    bbox: tuple[int, int, int, int] = Field(description="x, y, max x - min x, max y - min y.")
    area: int = Field(description="Foreground pixels.")
    predicted_iou: float
    stability_score: float
    point_coords: list[tuple[float, float]] = Field(description="The points that asked for it.")
    crop_box: tuple[int, int, int, int] = Field(description="x, y, width, height of the crop it was found in.")


class ImageBody(BaseModel):
    id: str | None = Field(description="The image's id, if it was given by one.")
    width: int
    height: int


class ModelBody(BaseModel):
    name: str = Field(examples=["tiny"])
    version: str = Field(description="Digest of graphs and preprocessing.", examples=["14511ef25811c8f2"])


class SegmentationBody(BaseModel):
    image: ImageBody
    model: ModelBody
    masks: list[MaskBody]
    timings_ms: Timings = Field(
        description="By stage; `cache` says whether the embedding was at hand.",
        examples=[{"prepare": 4.1, "encode": 61.0, "decode": 9.2, "total": 88.0, "cache": "miss"}],
    )
    request_id: str


class ObjectBody(BaseModel):
    url: str = Field(description="Where its PNG is.", examples=["/jobs/5b1f…/files/object_0.png"])
    file: str = Field(examples=["object_0.png"])
    box: tuple[int, int, int, int] = Field(description="x, y, width, height of the PNG in the picture's frame.")
    mask: MaskBody


class ExtractionBody(BaseModel):
    image: ImageBody
    model: ModelBody
    objects: list[ObjectBody] = Field(description="Largest first.")
    job_id: str = Field(description="The ended job that keeps the pictures, until it is erased or cleaned up by age.")
    timings_ms: Timings
    request_id: str


class StoredImageBody(BaseModel):
    id: str
    width: int
    height: int
    bytes: int


class ManifestBody(BaseModel):
    """What the export wrote down."""

    version: str
    image_side: int = Field(description="Pixels of the longest side that the encoder sees.")
    precision: str
    licence: str
    checkpoint_sha256: str
    measured: dict[str, float] = Field(description="Largest differences from PyTorch.")
    notice: str | None = None


class ModelStatusBody(BaseModel):
    name: str
    state: Literal["loaded", "loading", "not_loaded", "missing", "outdated"]
    manifest: ManifestBody | None


class ModelsBody(BaseModel):
    default: str
    models: list[ModelStatusBody]


class PartBody(BaseModel):
    ok: bool
    detail: str
    milliseconds: float


class HealthBody(BaseModel):
    status: Literal["ok", "degraded"]
    parts: dict[str, PartBody]


class LinksBody(BaseModel):
    self: str
    status: str
    result: str
    events: str


class AcceptedBody(BaseModel):
    """What every asynchronous route answers."""

    job_id: str
    status: Status
    links: LinksBody


class JobStatusBody(BaseModel):
    job_id: str
    status: Status
    progress: float = Field(description="0 to 100.")


class JobErrorBody(BaseModel):
    error: str = Field(examples=["invalid_picture"])
    detail: str


class ChildBody(JobStatusBody):
    name: str | None = Field(description="The file's name, as it was given.")
    image_id: str | None
    error: JobErrorBody | None
    links: LinksBody


class JobBody(JobStatusBody):
    kind: Kind
    operation: Kind
    priority: Priority
    model: str
    name: str | None
    image_id: str | None
    parent_id: str | None
    attempts: int = Field(description="How often it was begun; more than once after a worker or a part was lost.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: JobErrorBody | None
    links: LinksBody


class JobDetailsBody(JobBody):
    files: list[str] = Field(description="Names for `GET /jobs/{id}/files/{name}`.")
    counts: dict[Status, int] | None = Field(description="Of a batch: its children by status.")
    children: list[ChildBody] | None = Field(description="Of a batch, in the order they were given.")


class JobsBody(BaseModel):
    jobs: list[JobBody]
    total: int = Field(description="On all pages.")
    limit: int
    offset: int
    counts: dict[Status, int] = Field(description="All of the caller's jobs by status.")


class BatchResultBody(BaseModel):
    job_id: str
    counts: dict[Status, int]
    statistics: dict[str, float] = Field(examples=[{"masks": 310, "seconds_mean": 0.41, "seconds_median": 0.4}])
    children: list[ChildBody]


_TINY_NOTICE = (
    "Trained on drawn scenes alone, to start, to test and to show with. It is no replacement for the official "
    "checkpoints: use vit_b, vit_l or vit_h for work."
)


def mask_body(mask: Mask) -> MaskBody:
    segmentation = RleBody(size=mask.segmentation.size, counts=mask.segmentation.counts)
    return MaskBody(**(vars(mask) | {"segmentation": segmentation, "point_coords": list(mask.point_coords)}))


def segmentation_body(
    answer: Segmentation, image_id: str | None, timings_ms: Timings, request_id: str
) -> SegmentationBody:
    height, width = answer.size
    return SegmentationBody(
        image=ImageBody(id=image_id, width=width, height=height),
        model=ModelBody(name=answer.model.variant, version=answer.model.version),
        masks=[mask_body(mask) for mask in answer.masks],
        timings_ms=timings_ms,
        request_id=request_id,
    )


def extraction_body(found: StoredExtraction, job_id: str, image_id: str | None, request_id: str) -> ExtractionBody:
    height, width = found.size
    return ExtractionBody(
        image=ImageBody(id=image_id, width=width, height=height),
        model=ModelBody(name=found.model.variant, version=found.model.version),
        objects=[
            ObjectBody(url=f"/jobs/{job_id}/files/{each.file}", file=each.file, box=each.box, mask=mask_body(each.mask))
            for each in found.objects
        ],
        job_id=job_id,
        timings_ms=dict(found.timings_ms),
        request_id=request_id,
    )


def stored_image_body(image: StoredImage) -> StoredImageBody:
    return StoredImageBody(id=image.id, width=image.width, height=image.height, bytes=image.bytes)


def model_status_body(status: ModelStatus) -> ModelStatusBody:
    manifest = status.manifest
    return ModelStatusBody(
        name=status.name,
        state=status.state,
        manifest=manifest
        and ManifestBody(
            version=manifest.version,
            image_side=manifest.image_side,
            precision=manifest.precision,
            licence=manifest.licence,
            checkpoint_sha256=manifest.checkpoint_sha256,
            measured=manifest.measured,
            notice=_TINY_NOTICE if manifest.variant == "tiny" else None,
        ),
    )


def links_body(job: Job) -> LinksBody:
    here = f"/jobs/{job.id}"
    return LinksBody(self=here, status=f"{here}/status", result=f"{here}/result", events=f"{here}/events")


def accepted_body(job: Job) -> AcceptedBody:
    return AcceptedBody(job_id=job.id, status=job.status, links=links_body(job))


def job_status_body(job: Job, tally: Tally | None = None) -> JobStatusBody:
    """`tally`: of a batch that is under way."""
    return JobStatusBody(job_id=job.id, status=job.status, progress=round(tally.progress if tally else job.progress, 1))


def job_body(job: Job) -> JobBody:
    return JobBody(
        job_id=job.id,
        status=job.status,
        progress=job.progress,
        kind=job.kind,
        operation=Kind(job.task["operation"]),
        priority=job.priority,
        model=job.task["model"],
        name=job.name,
        image_id=job.image_id,
        parent_id=job.parent_id,
        attempts=job.attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        error=_job_error_body(job),
        links=links_body(job),
    )


def child_body(job: Job) -> ChildBody:
    return ChildBody(
        job_id=job.id,
        status=job.status,
        progress=job.progress,
        name=job.name,
        image_id=job.image_id,
        error=_job_error_body(job),
        links=links_body(job),
    )


def _job_error_body(job: Job) -> JobErrorBody | None:
    return JobErrorBody(error=job.error, detail=job.detail or "") if job.error else None

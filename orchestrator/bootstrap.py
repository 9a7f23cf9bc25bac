"""Builds the services: the one place that knows the settings and the adapters."""

from dataclasses import dataclass
from functools import partial

from threadpoolctl import threadpool_limits

from orchestrator.adapters import database
from orchestrator.adapters.decoders import FolderDecoders
from orchestrator.adapters.in_process_encoder import InProcessEncoder
from orchestrator.adapters.onnx_decoder import OnnxDecoder
from orchestrator.adapters.onnx_graph import OnnxGraph
from orchestrator.adapters.picture_files import FolderPictureFiles
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.adapters.triton_encoder import TritonEncoder
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.image import Limits
from orchestrator.settings import Settings
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.health import Check, Health
from orchestrator.usecases.images import Images
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports import Decoders, Encoder
from orchestrator.usecases.segment import Segment


@dataclass(frozen=True)
class Engines:
    """What segments a picture; needs no database."""

    limits: Limits
    encoder: Encoder
    models: Models
    decoders: Decoders
    segment: Segment
    automatic: Automatic


@dataclass(frozen=True)
class Services:
    """What the API's routes call."""

    settings: Settings
    limits: Limits
    models: Models
    segment: Segment
    automatic: Automatic
    images: Images
    health: Health


def engines(settings: Settings) -> Engines:
    repository = FileModelRepository(settings.model_repository)
    encoder, decoders = runtime(settings)
    if settings.triton_url:
        encoder = TritonEncoder(settings.triton_url, settings.triton_timeout_seconds)
    models = Models(repository, encoder)
    segment = Segment(models, encoder, decoders)
    automatic = Automatic(models, decoders, segment, settings.cores)
    # Masks are made by small matrix products on threads of their own: threads below them only get in the way.
    threadpool_limits(1, user_api="blas")
    return Engines(limits(settings), encoder, models, decoders, segment, automatic)


def runtime(settings: Settings) -> tuple[Encoder, Decoders]:
    """What runs in this process, on the engine of the settings. Raises `Unavailable` if that cannot run here."""
    folder, threads = settings.model_repository, settings.cores
    if settings.cpu_engine == "onnxruntime":
        return (
            InProcessEncoder(folder, partial(OnnxGraph, threads=threads)),
            FolderDecoders(folder, partial(OnnxDecoder, threads=threads)),
        )
    try:
        from orchestrator.adapters.openvino_decoder import OpenVinoDecoder
        from orchestrator.adapters.openvino_graph import OpenVinoGraph, Precision, must_have
    except ImportError as exc:
        raise Unavailable(
            "CPU_ENGINE names OpenVINO, which is not installed: pip install 'image-quarry[openvino]'."
        ) from exc
    precision: Precision = "bf16" if settings.cpu_engine == "openvino-bf16" else "f32"
    must_have(precision)
    return (
        InProcessEncoder(folder, partial(OpenVinoGraph, threads=threads, precision=precision)),
        FolderDecoders(folder, partial(OpenVinoDecoder, threads=threads, precision=precision)),
    )


def services(settings: Settings) -> Services:
    """Brings the database's schema up to date first."""
    parts = engines(settings)
    engine = database.connect(settings.database_url.get_secret_value())
    database.migrate(engine)
    files = FolderPictureFiles(settings.upload_dir)
    checks: dict[str, Check] = {
        "encoder": parts.encoder.check,
        "model": lambda: parts.models.check(settings.default_model),
        "database": lambda: database.check(engine),
        "uploads": files.check,
    }
    return Services(
        settings=settings,
        limits=parts.limits,
        models=parts.models,
        segment=parts.segment,
        automatic=parts.automatic,
        images=Images(database.SqlImageRows(engine), files, parts.limits),
        health=Health(checks),
    )


def limits(settings: Settings) -> Limits:
    return Limits(
        max_bytes=settings.max_image_size_mb * 2**20,
        max_dimension=settings.max_image_dimension,
        formats=tuple(settings.supported_image_formats),
    )

"""Builds the services: the one place that knows the settings and the adapters."""

from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from orchestrator.adapters import database
from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.adapters.layered_cache import LayeredCache
from orchestrator.adapters.memory_cache import MemoryCache
from orchestrator.adapters.onnx_decoder import OnnxDecoders
from orchestrator.adapters.onnx_encoder import OnnxEncoder
from orchestrator.adapters.picture_files import FolderPictureFiles
from orchestrator.adapters.redis_cache import RedisCache
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.adapters.triton_encoder import TritonEncoder
from orchestrator.domain.image import Limits
from orchestrator.settings import Settings
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.embeddings import Embeddings
from orchestrator.usecases.extract import Extract
from orchestrator.usecases.health import Check, Health
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Jobs
from orchestrator.usecases.models import Models
from orchestrator.usecases.ports import ArrayCache, Decoders, Encoder
from orchestrator.usecases.segment import Segment


@dataclass(frozen=True)
class Engines:
    """What segments a picture; needs no database."""

    limits: Limits
    encoder: Encoder
    models: Models
    decoders: Decoders
    cache: ArrayCache
    segment: Segment
    automatic: Automatic
    extract: Extract


@dataclass(frozen=True)
class Services:
    """What the API's routes call."""

    settings: Settings
    limits: Limits
    models: Models
    segment: Segment
    automatic: Automatic
    extract: Extract
    images: Images
    jobs: Jobs
    health: Health


def engines(settings: Settings) -> Engines:
    repository = FileModelRepository(settings.model_repository)
    encoder: Encoder
    if settings.triton_url:
        encoder = TritonEncoder(settings.triton_url, settings.triton_timeout_seconds)
    else:
        encoder = OnnxEncoder(settings.model_repository, settings.cores)
    models = Models(repository, encoder)
    decoders = OnnxDecoders(settings.model_repository, settings.cores)
    arrays = cache(settings)
    segment = Segment(models, Embeddings(models, encoder, arrays), decoders)
    automatic = Automatic(models, decoders, segment, settings.cores)
    extract = Extract(segment, automatic, decoders)
    # Masks are made by small matrix products on threads of their own: threads below them only get in the way.
    threadpool_limits(1, user_api="blas")
    return Engines(limits(settings), encoder, models, decoders, arrays, segment, automatic, extract)


def cache(settings: Settings) -> ArrayCache:
    """In this process, and shared where there is a Redis."""
    near = MemoryCache(settings.embedding_cache_mb * 2**20, settings.embedding_cache_seconds)
    url = settings.redis_url.get_secret_value()
    if not url or not settings.embedding_cache_shared_mb:
        return near
    return LayeredCache(
        near, RedisCache(url, settings.embedding_cache_shared_mb * 2**20, settings.embedding_cache_seconds)
    )


def services(settings: Settings) -> Services:
    """Brings the database's schema up to date first."""
    parts = engines(settings)
    engine = database.connect(settings.database_url.get_secret_value())
    database.migrate(engine)
    files, results = FolderPictureFiles(settings.upload_dir), FolderResultFiles(settings.results_dir)
    images = Images(database.SqlImageRows(engine), files, parts.limits, forget=parts.cache.forget)
    checks: dict[str, Check] = {
        "encoder": parts.encoder.check,
        "model": lambda: parts.models.check(settings.default_model),
        "database": lambda: database.check(engine),
        "uploads": files.check,
        "results": results.check,
    }
    return Services(
        settings=settings,
        limits=parts.limits,
        models=parts.models,
        segment=parts.segment,
        automatic=parts.automatic,
        extract=parts.extract,
        images=images,
        jobs=Jobs(SqlJobRows(engine), results, images),
        health=Health(checks),
    )


def limits(settings: Settings) -> Limits:
    return Limits(
        max_bytes=settings.max_image_size_mb * 2**20,
        max_dimension=settings.max_image_dimension,
        formats=tuple(settings.supported_image_formats),
    )

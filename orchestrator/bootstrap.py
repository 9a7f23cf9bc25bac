"""Builds the services: the one place that knows the settings and the adapters."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine
from threadpoolctl import threadpool_limits

from orchestrator.adapters import database
from orchestrator.adapters.cpu_engine import openvino_precision
from orchestrator.adapters.decoders import FolderDecoders
from orchestrator.adapters.http_notifier import HttpNotifier
from orchestrator.adapters.in_process_encoder import InProcessEncoder
from orchestrator.adapters.job_rows import SqlJobRows
from orchestrator.adapters.layered_cache import LayeredCache
from orchestrator.adapters.memory_cache import MemoryCache
from orchestrator.adapters.onnx_decoder import OnnxDecoder
from orchestrator.adapters.onnx_graph import OnnxGraph
from orchestrator.adapters.picture_files import FolderPictureFiles
from orchestrator.adapters.redis_cache import RedisCache
from orchestrator.adapters.repository import FileModelRepository
from orchestrator.adapters.result_files import FolderResultFiles
from orchestrator.adapters.rq_doorbell import RqDoorbell, SilentDoorbell
from orchestrator.adapters.triton_encoder import TritonEncoder
from orchestrator.domain.errors import QuarryError
from orchestrator.domain.image import Limits
from orchestrator.settings import Settings
from orchestrator.usecases.automatic import Automatic
from orchestrator.usecases.batches import Batches
from orchestrator.usecases.callbacks import Callbacks
from orchestrator.usecases.cleanup import Cleanup
from orchestrator.usecases.embeddings import Embeddings
from orchestrator.usecases.extract import Extract
from orchestrator.usecases.health import Check, Health
from orchestrator.usecases.images import Images
from orchestrator.usecases.jobs import Jobs
from orchestrator.usecases.lease import Terms
from orchestrator.usecases.models import Models
from orchestrator.usecases.operations import Operations
from orchestrator.usecases.ports.engines import ArrayCache, Decoders, Encoder
from orchestrator.usecases.ports.state import Doorbell
from orchestrator.usecases.refinement import Refinement
from orchestrator.usecases.segment import Segment
from orchestrator.usecases.submit import Bounds, Submit
from orchestrator.usecases.upkeep import Upkeep
from orchestrator.usecases.work import Rules, Work

INTERACTIVE, BATCH = 1, 2
"""Priorities in the encoder's queue; the first goes first."""


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
    operations: Operations


@dataclass(frozen=True)
class State:
    """What outlives a process: rows, files, and the bell that wakes the workers."""

    engine: Engine
    rows: SqlJobRows
    pictures: FolderPictureFiles
    results: FolderResultFiles
    images: Images
    doorbell: Doorbell
    batches: Batches
    callbacks: Callbacks


@dataclass(frozen=True)
class Care:
    """What is done again and again beside the workers."""

    upkeep: Upkeep
    callbacks: Callbacks
    cleanup: Cleanup


@dataclass(frozen=True)
class Services:
    """What the API's routes call."""

    settings: Settings
    limits: Limits
    models: Models
    segment: Segment
    automatic: Automatic
    extract: Extract
    refinement: Refinement
    operations: Operations
    images: Images
    jobs: Jobs
    submit: Submit
    health: Health


def engines(
    settings: Settings, threads: int | None = None, priority: int = INTERACTIVE, encoder: Encoder | None = None
) -> Engines:
    """`threads`: of the decoder and of making masks; all of the process's cores without it.

    `encoder`: in place of the one that the settings name.
    """
    threads = threads or settings.cores
    repository = FileModelRepository(settings.model_repository)
    here, decoders = _runtime(settings, threads)
    if encoder is None and settings.triton_url:
        encoder = TritonEncoder(settings.triton_url, settings.triton_timeout_seconds, priority)
    encoder = encoder or here
    models = Models(repository, encoder)
    arrays = cache(settings)
    segment = Segment(models, Embeddings(models, encoder, arrays), decoders)
    automatic = Automatic(models, decoders, segment, threads)
    extract = Extract(segment, automatic, decoders)
    # Masks are made by small matrix products on threads of their own: threads below them only get in the way.
    threadpool_limits(1, user_api="blas")
    operations = Operations(segment, automatic, extract)
    return Engines(limits(settings), encoder, models, decoders, arrays, segment, automatic, extract, operations)


def cache(settings: Settings) -> ArrayCache:
    """In this process, and shared where there is a Redis."""
    near = MemoryCache(settings.embedding_cache_mb * 2**20, settings.embedding_cache_seconds)
    url = settings.redis_url.get_secret_value()
    if not url or not settings.embedding_cache_shared_mb:
        return near
    most, seconds = settings.embedding_cache_shared_mb * 2**20, settings.embedding_cache_seconds
    return LayeredCache(near, RedisCache(url, most, seconds, maker=settings.cpu_engine))


def state(settings: Settings, arrays: ArrayCache) -> State:
    """Nothing is opened yet. `arrays`: where this process keeps what was made of pictures."""
    engine = database.connect(settings.database_url.get_secret_value())
    rows = SqlJobRows(engine)
    pictures = FolderPictureFiles(settings.upload_dir)
    doorbell: Doorbell = SilentDoorbell()
    if url := settings.redis_url.get_secret_value():
        doorbell = RqDoorbell(url)
    return State(
        engine=engine,
        rows=rows,
        pictures=pictures,
        results=FolderResultFiles(settings.results_dir),
        images=Images(database.SqlImageRows(engine), pictures, limits(settings), forget=arrays.forget),
        doorbell=doorbell,
        batches=Batches(rows, doorbell, _life(settings)),
        callbacks=Callbacks(rows, HttpNotifier(settings.callback_allow), settings.callback_secret.get_secret_value()),
    )


def _runtime(settings: Settings, threads: int) -> tuple[Encoder, Decoders]:
    """What runs in this process, on the engine of the settings. Raises `Unavailable` if that cannot run here."""
    folder = settings.model_repository
    precision = openvino_precision(settings.cpu_engine)
    if precision is None:
        return (
            InProcessEncoder(folder, partial(OnnxGraph, threads=threads)),
            FolderDecoders(folder, partial(OnnxDecoder, threads=threads)),
        )
    from orchestrator.adapters.openvino_decoder import OpenVinoDecoder
    from orchestrator.adapters.openvino_graph import OpenVinoGraph

    return (
        InProcessEncoder(folder, partial(OpenVinoGraph, threads=threads, precision=precision)),
        FolderDecoders(folder, partial(OpenVinoDecoder, threads=threads, precision=precision)),
    )


def services(settings: Settings) -> Services:
    """Brings the database's schema up to date first."""
    parts = engines(settings)
    kept = state(settings, parts.cache)
    database.migrate(kept.engine)
    checks: dict[str, Check] = {
        "encoder": parts.encoder.check,
        "model": lambda: parts.models.check(settings.default_model),
        "database": lambda: database.check(kept.engine),
        "uploads": kept.pictures.check,
        "results": kept.results.check,
    }
    if settings.redis_url.get_secret_value():
        checks["queue"] = kept.doorbell.check
    bounds = Bounds(
        jobs=settings.job_queue_max,
        batches=settings.batch_max_active,
        files=settings.batch_max_files,
        concurrency=settings.batch_concurrency,
        life=_life(settings),
    )
    return Services(
        settings=settings,
        limits=parts.limits,
        models=parts.models,
        segment=parts.segment,
        automatic=parts.automatic,
        extract=parts.extract,
        refinement=Refinement(parts.cache),
        operations=parts.operations,
        images=kept.images,
        jobs=Jobs(kept.rows, kept.results, kept.images),
        submit=Submit(kept.rows, kept.images, parts.models, kept.batches, kept.callbacks, kept.doorbell, bounds),
        health=Health(checks),
    )


def work(settings: Settings) -> Work:
    """What a worker process does; its default model is loaded if that is possible now."""
    parts = engines(settings, settings.worker_threads, BATCH)
    kept = state(settings, parts.cache)
    with suppress(QuarryError):
        parts.decoders.get(parts.models.require(settings.default_model))
    rules = Rules(Terms(soft_limit=settings.job_soft_time_limit), settings.job_max_retries, parts.limits)
    return Work(kept.rows, kept.results, kept.images, parts.operations, kept.batches, rules)


def care(settings: Settings) -> Care:
    """What the workers' supervisor does beside them. Brings the database's schema up to date first."""
    kept = state(settings, cache(settings))
    database.migrate(kept.engine)
    limit = timedelta(seconds=settings.job_time_limit)
    return Care(
        upkeep=Upkeep(kept.rows, kept.results, kept.doorbell, kept.batches, limit),
        callbacks=kept.callbacks,
        cleanup=_cleanup(settings, kept),
    )


def cleanup(settings: Settings) -> Cleanup:
    """Brings the database's schema up to date first."""
    kept = state(settings, cache(settings))
    database.migrate(kept.engine)
    return _cleanup(settings, kept)


def _cleanup(settings: Settings, kept: State) -> Cleanup:
    jobs = Jobs(kept.rows, kept.results, kept.images)
    age = timedelta(days=settings.cleanup_older_than_days)
    return Cleanup(jobs, kept.rows, kept.images, database.SqlImageRows(kept.engine), age)


def _life(settings: Settings) -> timedelta:
    return timedelta(minutes=settings.job_timeout_minutes)


def limits(settings: Settings) -> Limits:
    return Limits(
        max_bytes=settings.max_image_size_mb * 2**20,
        max_dimension=settings.max_image_dimension,
        formats=tuple(settings.supported_image_formats),
    )

"""The settings, read once from the environment (and `.env` in the working directory).

Every name and default is listed in `.env.example`; a test keeps the two alike.
"""

import math
import os
import re
import sys
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

OFFICIAL_CHECKPOINTS = {
    "vit_h": "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
    "vit_l": "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth",
    "vit_b": "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
}


def bundled_repository() -> Path:
    """The working directory's, else the one beside this package: commands run from anywhere."""
    here = Path("model_repository")
    return here if here.is_dir() else Path(__file__).parents[1] / here


class WrongSetting(Exception):
    """One sentence: which setting is wrong, and how."""


class Settings(BaseSettings):
    """One field per environment variable, of the same name in capitals."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    # The server
    app_name: str = "image-quarry-api"
    host: str = "0.0.0.0"  # noqa: S104 - inside a container; the local stack hands over loopback
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1)
    cors_origins: list[str] = ["*"]
    cors_methods: list[str] = ["*"]
    cors_headers: list[str] = ["*"]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    # Models
    default_model: str = "tiny"
    model_repository: Path = Field(default_factory=bundled_repository)
    triton_url: str = ""  # host:port of Triton's gRPC; empty: encode in this process
    cpu_engine: Literal["auto", "onnxruntime", "openvino", "openvino-bf16"] = "auto"  # not of a Triton elsewhere
    triton_timeout_seconds: float = Field(60.0, gt=0)
    request_timeout_seconds: float = Field(300.0, gt=0)  # of a segment route, waiting included
    model_cache_dir: Path = Path("./models")
    sam_model_urls: dict[str, str] = OFFICIAL_CHECKPOINTS

    # Pictures
    max_image_size_mb: int = Field(50, ge=1)
    max_image_dimension: int = Field(4096, ge=16)
    supported_image_formats: list[str] = ["jpeg", "jpg", "png", "webp", "bmp", "tiff"]

    # State
    database_url: SecretStr = SecretStr("sqlite:///quarry.db")
    redis_url: SecretStr = SecretStr("")  # empty: nothing can be queued, and caches stay in the process
    embedding_cache_mb: int = Field(256, ge=0)  # in each process
    embedding_cache_shared_mb: int = Field(256, ge=0)  # in Redis, of all replicas together
    embedding_cache_seconds: int = Field(3600, ge=1)  # from the last use on
    cleanup_older_than_days: int = Field(7, ge=1)  # ended jobs and uploads
    upload_dir: Path = Path("./uploads")
    results_dir: Path = Path("./results")

    # Jobs
    job_workers: int = Field(1, ge=1)  # processes below `python -m orchestrator.worker`
    job_threads: int = Field(0, ge=0)  # of each of them; 0: an equal share of the cores
    job_time_limit: float = Field(600.0, gt=0)  # seconds of an attempt, then its process is killed
    job_soft_time_limit: float = Field(540.0, gt=0)  # seconds of an attempt, then it is asked to stop
    job_max_retries: int = Field(5, ge=0)
    job_timeout_minutes: float = Field(30.0, gt=0)  # of a job's whole life
    job_queue_max: int = Field(1000, ge=1)
    batch_max_active: int = Field(50, ge=1)
    batch_max_files: int = Field(500, ge=1, le=1000)
    batch_max_size_mb: int = Field(1024, ge=1)
    batch_concurrency: int = Field(4, ge=1)
    callback_secret: SecretStr = SecretStr("")  # empty: no callbacks
    callback_allow: list[str] = []

    @property
    def worker_threads(self) -> int:
        """Of one worker process."""
        return self.job_threads or max(1, self.cores * self.workers // self.job_workers)

    @cached_property
    def cores(self) -> int:
        """This process's share of the cores that the machine, taskset and the container's quota leave."""
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(allowed, _quota()) // self.workers)


def read() -> Settings:
    """From the environment and `.env`. Raises `WrongSetting`."""
    try:
        return Settings()
    except ValidationError as exc:
        problem = exc.errors()[0]
        raise WrongSetting(f"The setting {str(problem['loc'][0]).upper()} is wrong: {problem['msg']}.") from exc
    except SettingsError as exc:
        field = re.search(r'"(\w+)"', str(exc))
        name = field[1].upper() if field else "of a list"
        raise WrongSetting(f'The setting {name} is wrong: it is written as JSON, for example ["*"].') from exc


def _quota() -> int:
    """Whole cores of the control group's CPU quota (version 2), rounded up; many if there is none."""
    try:
        quota, period = _CPU_MAX.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return sys.maxsize

"""A real Triton server without a container: the one that the nvidia-pytriton wheel carries."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.local.network import answers, free_ports
from orchestrator.local.process import Part

WHEEL = "pytriton"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
EXIT_SECONDS = 5
BACKENDS = Path(__file__).with_name("backend")


@dataclass(frozen=True)
class TritonAddresses:
    """Each as host:port."""

    http: str
    grpc: str
    metrics: str


def unavailable() -> str | None:
    """Why no Triton can run here, as a clause; None when it can."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec(WHEEL) is None:
        return "the nvidia-pytriton wheel is not installed (it exists for Linux on x86-64)"
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed: choose the extra 'cpu' or 'gpu'"
    if not _stub().exists():
        return f"nvidia-pytriton has no backend stub for Python {version}"
    library = f"libpython{version}.so.1.0"
    if not any((folder / library).exists() for folder in _python_libraries()):
        return f"this Python was built without its shared library, {library}"
    if importlib.metadata.version("numpy").split(".")[0] != "1":
        return "numpy is 2 or newer, with which Triton's Python backend returns empty tensors"
    return None


def part(
    repository: Path,
    data_dir: Path,
    models: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    cpu_engine: str = "onnxruntime",
    extra_args: Sequence[str] = (),
) -> tuple[Part, TritonAddresses]:
    """A server on free ports of `host` that has loaded `models` when it is ready.

    `cpu_engine`, one of those of the settings, runs them where there is no GPU; it must be able to run here.

    Its files are below `data_dir`, and its shared memory is named after it: two servers must not
    share one. What a killed server left there is removed when the next one starts.
    """
    if reason := unavailable():
        raise RuntimeError(f"Triton cannot run here: {reason}.")
    http, grpc, metrics = free_ports(3, host)
    addresses = TritonAddresses(f"{host}:{http}", f"{host}:{grpc}", f"{host}:{metrics}")
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    prefix = f"image-quarry-{digest}-"
    directory = data_dir.resolve() / "triton"
    if not str(directory).isascii():  # the Python backend breaks in such a folder
        directory = Path(tempfile.gettempdir()) / f"image-quarry-{digest}"
    assemble(directory, repository.resolve())
    options = {
        # Triton puts these paths into a shell command without quotes: so they are short and plain
        "model-repository": "models",
        "backend-directory": "backends",
        "model-control-mode": "explicit",
        "strict-readiness": "true",
        "exit-timeout-secs": EXIT_SECONDS,
        "http-address": host,
        "http-port": http,
        "http-thread-count": 4,
        "grpc-address": host,
        "grpc-port": grpc,
        "grpc-infer-allocation-pool-size": 8,
        "metrics-address": host,
        "metrics-port": metrics,
        "pinned-memory-pool-byte-size": 64 << 20,
    }
    python_options = {
        "shm-region-prefix-name": prefix,
        "shm-growth-byte-size": 16 << 20,
        "stub-timeout-seconds": 300,  # the largest model takes longer to load than the default 30
    }
    server = Part(
        name="triton",
        command=[
            str(_server() / "bin" / "tritonserver"),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in options.items()),
            *(f"--backend-config=python,{name}={value}" for name, value in python_options.items()),
            *(f"--load-model={model}" for model in models),
            *extra_args,
        ],
        environment={**environment(), "CPU_ENGINE": cpu_engine},
        directory=directory,
        ready=lambda: answers(f"http://{addresses.http}/v2/health/ready"),
        patience=300,
        grace=EXIT_SECONDS + 5,
        litter=[f"{SHARED_MEMORY}/{prefix}*"],
        advice=f"Look at the lines with 'error' and 'UNAVAILABLE': a model in {repository} may be "
        "damaged; 'python -m export VARIANT' writes it anew.",
    )
    return server, addresses


def assemble(directory: Path, repository: Path) -> None:
    """Makes `directory` anew: `backends`, the wheel's with this Python's stub and ours; `models`, a link.

    The backends are copies, because Triton refuses links that lead out of their directory.
    """
    shutil.rmtree(directory, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    backends = directory / "backends"
    shutil.copytree(BACKENDS, backends, ignore=ignored)
    shutil.copytree(_server() / "backends" / "python", backends / "python", ignore=ignored)
    shutil.copy2(_stub(), backends / "python")
    (directory / "models").symlink_to(repository)


def environment() -> Mapping[str, str]:
    """The stub finds the virtual environment by PATH alone, and libraries by LD_LIBRARY_PATH."""
    libraries = [_wheel().parent / "nvidia_pytriton.libs", *_python_libraries()]
    inherited = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    commands = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [*map(str, libraries), *inherited])),
        "PATH": os.pathsep.join(commands),
    }


def _wheel() -> Path:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("nvidia-pytriton is not installed.")
    return Path(spec.submodule_search_locations[0])


def _server() -> Path:
    return _wheel() / "tritonserver"


def _stub() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _server() / "python_backend_stubs" / version / "triton_python_backend_stub"


def _python_libraries() -> list[Path]:
    """Folders that may hold libpython, in the order of trust."""
    places = (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib")
    multiarch = sysconfig.get_config_var("MULTIARCH")
    found = [Path(place) for place in places if place]
    return [*found, *(folder / multiarch for folder in found if multiarch)]

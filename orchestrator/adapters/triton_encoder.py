"""The encoder on Triton, over gRPC."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from orchestrator.domain.errors import DeadlineExceeded, ModelNotLoaded, Overloaded, QuarryError, Unavailable
from orchestrator.domain.geometry import ModelInput
from orchestrator.domain.model import Manifest
from orchestrator.usecases.ports.engines import Float32

LOAD_SECONDS = 600.0
"""A large model on a cold disk."""

CONTROL_SECONDS = 5.0

_CHANNEL = [
    # gRPC waits up to two minutes before it tries a lost server again; people wait less.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", 2**31 - 1),
    # A headless service names all replicas; without this a connection sticks to one.
    ("grpc.lb_policy_name", "round_robin"),
]


class TritonEncoder:
    """One client for all threads of the process; to be made after any fork.

    `timeout`: seconds of one encoding; `priority`: in Triton's queue, 1 goes before 2, 0 leaves it to the model.
    """

    def __init__(self, address: str, timeout: float, priority: int = 0) -> None:
        self._address = address
        self._timeout = timeout
        self._priority = priority
        self._client = triton.InferenceServerClient(address, channel_args=_CHANNEL)

    def encode(self, model: Manifest, picture: ModelInput) -> Float32:
        image = triton.InferInput("image", [1, *picture.canvas.shape], "UINT8")
        image.set_data_from_numpy(picture.canvas[None])
        size = triton.InferInput("size", [1, 2], "INT32")
        size.set_data_from_numpy(np.array([picture.size], np.int32))
        with self._translated(model.variant):
            result = self._client.infer(
                model.variant,
                [image, size],
                outputs=[triton.InferRequestedOutput("embedding")],
                client_timeout=self._timeout,
                timeout=int(self._timeout * 1e6),
                priority=self._priority,
            )
        embedding = result.as_numpy("embedding")
        if embedding is None or embedding.shape != (1, *model.embedding_shape):
            raise Unavailable(f"Triton answered no embedding of {model.variant}; look at its log.")
        return np.asarray(embedding[0], np.float32)

    def loaded(self) -> dict[str, str]:
        with self._translated():
            index = self._client.get_model_repository_index(client_timeout=CONTROL_SECONDS)
        versions = {}
        for name in [model.name for model in index.models if model.state == "READY"]:
            with suppress(ModelNotLoaded):  # it may have gone since
                versions[name] = self._version(name)
        return versions

    def load(self, name: str) -> None:
        with self._translated(name):
            self._client.load_model(name, client_timeout=LOAD_SECONDS)

    def unload(self, name: str) -> None:
        with self._translated(name):
            self._client.unload_model(name, client_timeout=CONTROL_SECONDS)

    def check(self) -> None:
        """Raises `Unavailable` if Triton does not answer.

        Its own readiness would not do: it asks that all models are loaded, and ours are loaded on demand.
        """
        with self._translated():
            if not self._client.is_server_live(client_timeout=CONTROL_SECONDS):
                raise Unavailable("Triton is not live.")

    def _version(self, name: str) -> str:
        with self._translated(name):
            config = self._client.get_model_config(name, client_timeout=CONTROL_SECONDS).config
        return str(config.parameters["version"].string_value) if "version" in config.parameters else ""

    @contextmanager
    def _translated(self, model: str = "") -> Iterator[None]:
        """The one seam between Triton's errors and ours."""
        try:
            yield
        except InferenceServerException as exc:
            raise self._error(exc, model) from exc

    def _error(self, exc: InferenceServerException, model: str) -> QuarryError:
        status, message = str(exc.status() or ""), exc.message() or ""
        if "DEADLINE_EXCEEDED" in status or "timeout expired" in message.lower():
            return DeadlineExceeded("Triton took longer than this request may; try again, or with less load.")
        if "maximum queue size" in message:
            return Overloaded("Triton has more waiting than it may; try again in a moment.")
        if "unknown model" in message or "is not ready" in message or "NOT_FOUND" in status:
            return ModelNotLoaded(f"Triton does not have the model {model} loaded.")
        if "failed to load" in message:
            return Unavailable(f"Triton cannot load {model}: {message}", retry_after=30)
        if "UNAVAILABLE" in status or "CANCELLED" in status:
            return Unavailable("Triton, which encodes the pictures, does not answer; try again in a moment.")
        return Unavailable(f"Triton refused: {json.dumps(message)}", retry_after=10)

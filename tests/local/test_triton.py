"""The local Triton: a real server, a real client."""

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from orchestrator.local import triton
from orchestrator.local.process import PartFailed
from orchestrator.local.triton import TritonAddresses
from tests.local import models
from tests.local.servers import running_triton

Arrays = Mapping[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    models.write_encoder(folder, "encoder")
    models.write_encoder(folder, "patient", delay_us=200_000)
    models.write_encoder(folder, "liar", claimed_dims=(2, models.SIDE, models.SIDE))
    models.write_echo(folder, "echo")
    return folder


@pytest.fixture(scope="module")
def addresses(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonAddresses]:
    loaded = ["encoder", "patient", "echo"]
    with running_triton(repository, tmp_path_factory.mktemp("data"), loaded) as found:
        yield found


@pytest.fixture(scope="module")
def client(addresses: TritonAddresses) -> Iterator[grpc.InferenceServerClient]:
    with grpc.InferenceServerClient(addresses.grpc) as found:
        yield found


def infer(client: grpc.InferenceServerClient, model: str, feed: Arrays) -> dict[str, Any]:
    """One request, with the batch axis added; the outputs without it."""
    types = {"float16": "FP16", "float32": "FP32", "uint8": "UINT8", "int32": "INT32"}
    inputs = []
    for name, array in feed.items():
        tensor = grpc.InferInput(name, [1, *array.shape], types[array.dtype.name])
        tensor.set_data_from_numpy(array[None])
        inputs.append(tensor)
    result = client.infer(model, inputs, client_timeout=20)
    return {o.name: result.as_numpy(o.name)[0] for o in result.get_response().outputs}


def pictures(count: int) -> list[Arrays]:
    random = np.random.default_rng(7)
    return [
        {
            "image": random.integers(0, 256, (models.SIDE, models.SIDE, 3), np.uint8),
            "size": np.array([index % len(models.TABLE), 1], np.int32),
        }
        for index in range(count)
    ]


def server(addresses: TritonAddresses) -> psutil.Process:
    port = f"--http-port={addresses.http.split(':')[1]}"
    [found] = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.name() == "tritonserver" and port in child.cmdline()
    ]
    return found


def counts(client: grpc.InferenceServerClient, model: str) -> tuple[int, int]:
    """Inferences and executions so far."""
    [statistics] = client.get_inference_statistics(model).model_stats
    return statistics.inference_count, statistics.execution_count


def test_a_model_of_the_official_backend_is_served(client: grpc.InferenceServerClient) -> None:
    for feed in pictures(4):
        embedding = infer(client, "encoder", feed)["embedding"]
        np.testing.assert_allclose(embedding, models.expected(**feed), rtol=1e-6)


def test_concurrent_requests_run_as_batches_and_equal_those_alone(
    client: grpc.InferenceServerClient,
) -> None:
    feeds = pictures(8)
    alone = [infer(client, "patient", feed)["embedding"] for feed in feeds]
    before = counts(client, "patient")
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda f: infer(client, "patient", f)["embedding"], feeds))
    inferences, executions = np.subtract(counts(client, "patient"), before)
    assert inferences == 8
    assert executions < inferences
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_request_that_fails_does_not_hurt_the_others_of_its_batch(
    client: grpc.InferenceServerClient,
) -> None:
    feeds = pictures(4)
    feeds[2] = {**feeds[2], "size": np.array([99, 1], np.int32)}
    before = counts(client, "patient")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(infer, client, "patient", feed) for feed in feeds]
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        calls[2].result()
    for index in (0, 1, 3):
        embedding = calls[index].result()["embedding"]
        np.testing.assert_allclose(embedding, models.expected(**feeds[index]), rtol=1e-6)
    assert np.subtract(counts(client, "patient"), before)[1] < 4  # they did share a batch


def test_the_engine_that_is_asked_for_gives_the_same_alone_and_in_batches(repository: Path, tmp_path: Path) -> None:
    feeds = pictures(8)
    with (
        running_triton(repository, tmp_path, ["patient"], cpu_engine="openvino") as found,
        grpc.InferenceServerClient(found.grpc) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        embeddings = list(pool.map(lambda feed: infer(client, "patient", feed)["embedding"], feeds))
        inferences, executions = counts(client, "patient")
    for feed, embedding in zip(feeds, embeddings, strict=True):
        np.testing.assert_allclose(embedding, models.expected(**feed), rtol=1e-6)
    assert executions < inferences
    assert "runs on OpenVINO, f32" in (tmp_path / "logs" / "triton.log").read_text()


def test_every_element_type_passes_unchanged(client: grpc.InferenceServerClient) -> None:
    random = np.random.default_rng(3)
    kinds = {"FP16": np.float16, "FP32": np.float32, "UINT8": np.uint8, "INT32": np.int32}
    feeds = [{f"in_{k}": (random.random(3) * 200).astype(t) for k, t in kinds.items()} for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda feed: infer(client, "echo", feed), feeds))
    for feed, answer in zip(feeds, answers, strict=True):
        for kind, dtype in kinds.items():
            np.testing.assert_array_equal(answer[f"out_{kind}"], feed[f"in_{kind}"])
            assert answer[f"out_{kind}"].dtype == dtype


def test_an_output_that_contradicts_the_configuration_is_an_error(repository: Path, tmp_path: Path) -> None:
    config = (repository / "liar" / "config.pbtxt").read_text()
    assert "model_warmup" in config  # so that it shows when loading, before anyone asks
    with (
        pytest.raises(PartFailed, match=r"config\.pbtxt says float32") as failure,
        running_triton(repository, tmp_path, ["liar"]),
    ):
        pass
    assert str(tmp_path / "logs" / "triton.log") in str(failure.value)


def test_models_are_loaded_and_unloaded_on_demand(client: grpc.InferenceServerClient) -> None:
    client.unload_model("echo")
    assert not client.is_model_ready("echo")
    client.load_model("echo")
    assert client.is_model_ready("echo")
    with pytest.raises(InferenceServerException, match="missing"):
        client.load_model("missing")
    with pytest.raises(InferenceServerException, match="warm-up 'zeros' failed"):
        client.load_model("liar")
    assert client.is_server_live()


def test_it_listens_on_loopback_only(addresses: TritonAddresses) -> None:
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), str(connection.laddr.port))
        for connection in server(addresses).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {tuple(address.split(":")) for address in vars(addresses).values()}


def test_metrics_tell_what_it_did(addresses: TritonAddresses) -> None:
    text = httpx2.get(f"http://{addresses.metrics}/metrics").text
    assert 'nv_inference_exec_count{model="patient"' in text


def test_memory_does_not_grow_with_requests(addresses: TritonAddresses, client: grpc.InferenceServerClient) -> None:
    top = server(addresses)
    family = [top, *(stub for stub in top.children() if "encoder_0_0" in stub.cmdline())]
    assert len(family) == 2

    def resident() -> int:
        return sum(int(process.memory_info().rss) for process in family)

    feeds = pictures(8)
    with ThreadPoolExecutor(8) as pool:
        for feed in feeds * 50:
            pool.submit(infer, client, "encoder", feed)
    before = resident()
    with ThreadPoolExecutor(8) as pool:
        for feed in feeds * 100:
            pool.submit(infer, client, "encoder", feed)
    assert resident() - before < 16 << 20


def test_paths_may_have_spaces_and_what_a_shell_would_take_for_commands(repository: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a $(false) 'folder'; exit"
    odd.mkdir()
    (odd / "models").symlink_to(repository)
    [feed] = pictures(1)
    with (
        running_triton(odd / "models", odd / "data", ["encoder"]) as found,
        grpc.InferenceServerClient(found.grpc) as client,
    ):
        np.testing.assert_allclose(infer(client, "encoder", feed)["embedding"], models.expected(**feed), rtol=1e-6)


def test_what_a_killed_server_left_is_swept_by_the_next_one(repository: Path, tmp_path: Path) -> None:
    part, _ = triton.part(repository, tmp_path)
    [pattern] = part.litter
    left = Path(pattern.replace("*", "left-by-a-killed-server"))
    left.touch()
    with running_triton(repository, tmp_path):
        assert not left.exists()


@pytest.mark.parametrize("module", ["pytriton", "onnxruntime"])
def test_where_it_cannot_run_the_reason_is_told(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    assert "is not installed" in str(triton.unavailable())


def test_numpy_2_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.0.1")
    assert "empty tensors" in str(triton.unavailable())


def test_it_serves_from_a_folder_whose_name_is_not_ascii(tmp_path: Path) -> None:
    repository = tmp_path / "Modelle für Jürgen"
    models.write_echo(repository, "echo")
    with (
        running_triton(repository, tmp_path / "Dü", ["echo"]) as addresses,
        grpc.InferenceServerClient(addresses.grpc) as client,
    ):
        assert client.is_model_ready("echo")

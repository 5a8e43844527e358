"""The A30 profile on a server that can run it: skipped where there is no NVIDIA GPU or no Triton with onnxruntime."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import triton_models
from adapters import repository
from adapters.settings import TritonSettings
from adapters.triton import PRIORITIES, TritonClient
from clinstream.embedded import ports

BACKENDS = Path("/opt/tritonserver/backends/onnxruntime")


def reason_to_skip() -> str:
    """Why this machine cannot run the profile; empty when it can."""
    if shutil.which("nvidia-smi") is None or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode != 0:
        return "no NVIDIA GPU on this machine"
    if shutil.which("tritonserver") is None or not BACKENDS.is_dir():
        return "no tritonserver with the onnxruntime backend on PATH (the packaged one has only the Python backend)"
    return ""


pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "can run")


@pytest.mark.slow
async def test_tensorrt_in_half_precision_agrees_with_onnxruntime_on_the_cpu(tmp_path: Path) -> None:
    """S3, CC15: the same tensors in and out; probabilities within 0.01 of the CPU profile's."""
    grpc, http, metrics = ports.find_free(), ports.find_free(), ports.find_free()
    settings = TritonSettings(repository=tmp_path / "repository", grpc=f"127.0.0.1:{grpc}", profile="a30")
    models = triton_models.discover()
    names = repository.build(settings, [repository.Entry(model.card, model.weights_path) for model in models.values()])
    argv = ["tritonserver", f"--model-repository={settings.repository}", "--model-control-mode=explicit"]
    argv += [f"--grpc-port={grpc}", f"--http-port={http}", f"--metrics-port={metrics}"]
    nowhere = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(*argv, stdout=nowhere, stderr=nowhere)
    try:
        async with TritonClient(settings) as client:
            await client.reconcile(names)
            for model in models.values():
                spec = model.card.inputs[0]
                rows = np.random.default_rng(1).uniform(0, 200, (3, *spec.shape)).astype(spec.dtype)
                name = repository.triton_name(model.card.name, model.card.version)
                answer = await client.infer(name, {spec.name: rows}, priority=PRIORITIES["routine"], deadline_s=60)
                session = onnxruntime.InferenceSession(model.weights_path, providers=["CPUExecutionProvider"])
                expected = session.run(None, {spec.name: rows})[0]
                np.testing.assert_allclose(answer[model.card.outputs[0].name], expected, atol=0.01)
    finally:
        server.terminate()
        await server.wait()

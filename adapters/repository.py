"""The model repository that Triton serves from, generated from the cards; nothing here talks to a running server.

One folder a card version and lane: `<name>/config.pbtxt`, `<name>/1/model.onnx` and, in the CPU profile, the Python
backend's `<name>/1/model.py`. It is generated data: written at every start, never kept in version control.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from adapters.onnx_outputs import output_names
from adapters.settings import TritonSettings
from schemas.card import ModelCard, TensorSpec
from schemas.errors import UserError

Profile = Literal["cpu", "a30"]

PRIORITIES = {"stat": 1, "routine": 2}
BATCH_SIZE = "batch_size"
ROUTINE_NICENESS = 5
TENSORRT_WORKSPACE_BYTES = 1 << 30
BACKEND = Path(__file__).with_name("repository_backend.py.txt")

_TYPES = {
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One version to serve: its card and the ONNX file that the card was measured with."""

    card: ModelCard
    weights: Path


def triton_name(task: str, version: str, stat: bool = False) -> str:
    """Triton's name of a version: versions have names of their own, so that two can be served at once.

    `stat` names the instance that only urgent work may use; it exists where the card asks for one.
    """
    return f"{task}-{version.replace('.', '_')}" + ("-stat" if stat else "")


def names(card: ModelCard) -> list[str]:
    """All Triton names of a card's version."""
    lanes = (False, True) if card.serving.stat_instance else (False,)
    return [triton_name(card.name, card.version, stat) for stat in lanes]


def build(settings: TritonSettings, entries: Iterable[Entry]) -> list[str]:
    """Writes what `entries` need under `settings.repository` and returns the Triton names, ready to be loaded.

    Files that are right already are not touched; models of other versions stay until `prune`. Raises UserError when
    the weights are missing.
    """
    built: list[str] = []
    for entry in entries:
        if not entry.weights.is_file():
            raise UserError(
                f"{entry.card.name} {entry.card.version} has no weights at {entry.weights}; train it with "
                f"`clinstream train {entry.card.name} --data DIR`."
            )
        for name in names(entry.card):
            stat = name.endswith("-stat")
            _write(settings.repository / name, entry, settings.profile, stat)
            built.append(name)
    return built


def prune(settings: TritonSettings, keep: Sequence[str]) -> list[str]:
    """Removes the folders of models not in `keep`; only for a server that is not running. Returns their names."""
    if not settings.repository.is_dir():
        return []
    stale = [path for path in sorted(settings.repository.iterdir()) if path.is_dir() and path.name not in keep]
    for path in stale:
        shutil.rmtree(path)
    return [path.name for path in stale]


def config_text(card: ModelCard, profile: Profile, stat: bool = False) -> str:
    """Triton's `config.pbtxt` of a card's version for a profile.

    `cpu`: Python backend around onnxruntime, `instances_cpu` processes of `threads_cpu` threads each (every one holds
    its own copy of the weights). `a30`: onnxruntime backend with TensorRT in FP16 on each GPU, the same tensors.
    There is no queue timeout: a request dropped by one leaves the queue's accounting broken until a reload, so the
    client's deadline and `max_queue_size` bound the wait instead.
    """
    outputs = list(card.outputs)
    if profile == "cpu":
        outputs.append(TensorSpec(name=BATCH_SIZE, dtype="int32", shape=(1,), unit="rows of the executed batch"))
    blocks = [
        f'name: "{triton_name(card.name, card.version, stat)}"',
        'backend: "python"' if profile == "cpu" else 'platform: "onnxruntime_onnx"',
        f"max_batch_size: {card.serving.max_batch_size}",
        _tensors("input", card.inputs),
        _tensors("output", outputs),
        _batching(card, stat),
        _instances_cpu(card) if profile == "cpu" else "instance_group [\n  { count: 1, kind: KIND_GPU }\n]",
        _parameters(card, stat) if profile == "cpu" else _tensorrt(),
        _warm_up(card),
    ]
    return "\n".join(blocks) + "\n"


def _write(folder: Path, entry: Entry, profile: Profile, stat: bool) -> None:
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    _put(folder / "config.pbtxt", config_text(_given(entry), profile, stat).encode())
    # A copy, never a link: what is served must not change when a run writes new weights over the old file.
    _put(version / "model.onnx", entry.weights.read_bytes())
    backend = version / "model.py"
    if profile == "cpu":
        _put(backend, BACKEND.read_bytes())
    else:
        backend.unlink(missing_ok=True)


def _given(entry: Entry) -> ModelCard:
    """The card without the optional outputs that these weights lack; Triton would not load the model otherwise."""
    card = entry.card
    if not any(spec.optional for spec in card.outputs):
        return card
    there = output_names(entry.weights.read_bytes())
    return replace(card, outputs=tuple(spec for spec in card.outputs if not spec.optional or spec.name in there))


def _put(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: Triton may be reading the repository."""
    if path.is_file() and path.read_bytes() == content:
        return
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _tensors(kind: str, specs: Sequence[TensorSpec]) -> str:
    rows = []
    for spec in specs:
        dims = ", ".join(str(size) for size in spec.shape)
        rows.append(f'  {{ name: "{spec.name}", data_type: {_TYPES[spec.dtype]}, dims: [ {dims} ] }}')
    return f"{kind} [\n" + ",\n".join(rows) + "\n]"


def _batching(card: ModelCard, stat: bool) -> str:
    """Urgent requests never wait for company; routine ones wait as long as the card says."""
    serving = card.serving
    sizes = ", ".join(str(size) for size in serving.preferred_batch_sizes)
    return f"""dynamic_batching {{
  preferred_batch_size: [ {sizes} ]
  max_queue_delay_microseconds: {0 if stat else serving.max_queue_delay_us}
  priority_levels: {len(PRIORITIES)}
  default_priority_level: {PRIORITIES["routine"]}
  default_queue_policy {{ max_queue_size: {serving.max_queue_size} }}
}}"""


def _instances_cpu(card: ModelCard) -> str:
    return f"instance_group [\n  {{ count: {card.serving.instances_cpu}, kind: KIND_CPU }}\n]"


def _parameters(card: ModelCard, stat: bool) -> str:
    niceness = 0 if stat or not card.serving.stat_instance else ROUTINE_NICENESS
    pairs = {
        "input": card.inputs[0].name,
        "outputs": ",".join(spec.name for spec in card.outputs),
        "threads": str(card.serving.threads_cpu),
        "niceness": str(niceness),
    }
    return "\n".join(
        f'parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}' for key, value in pairs.items()
    )


def _tensorrt() -> str:
    return f"""optimization {{
  execution_accelerators {{
    gpu_execution_accelerator: [
      {{
        name: "tensorrt"
        parameters {{ key: "precision_mode", value: "FP16" }}
        parameters {{ key: "max_workspace_size_bytes", value: "{TENSORRT_WORKSPACE_BYTES}" }}
        parameters {{ key: "trt_engine_cache_enable", value: "true" }}
      }}
    ]
  }}
}}"""


def _warm_up(card: ModelCard) -> str:
    inputs = []
    for spec in card.inputs:
        dims = ", ".join(str(size) for size in spec.shape)
        inputs.append(
            f'    inputs {{ key: "{spec.name}", value: '
            f"{{ data_type: {_TYPES[spec.dtype]}, dims: [ {dims} ], zero_data: true }} }}"
        )
    return (
        f'model_warmup [\n  {{\n    name: "zeros"\n    batch_size: {card.serving.warm_up_rows}\n    count: 1\n'
        + "\n".join(inputs)
        + "\n  }\n]"
    )

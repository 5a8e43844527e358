"""The door to Triton: one gRPC client a process, its errors told apart, its models loaded again after a restart.

The only file that knows tritonclient. What is served is written by `adapters.repository`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as grpc_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from adapters.clock import Clock, SystemClock
from adapters.repository import BATCH_SIZE, PRIORITIES, triton_name
from adapters.settings import TritonSettings
from adapters.turns import turn
from schemas.errors import InvalidForModel, Overloaded, ServerDown

__all__ = ["BATCH_SIZE", "PRIORITIES", "Inference", "TritonClient", "reconcile", "triton_name"]

Tensor = npt.NDArray[Any]
Tensors = dict[str, Tensor]

KEEPALIVE_MS = 30_000
# gRPC's own defaults wait up to 20 s for a connection and up to 120 s between attempts: a restarted server would be
# found minutes late.
RECONNECT_MS = 1_000
PROBE_S = 1.0
LOAD_S = 120.0
READY_S = 30.0
"""Seconds that a model which was loaded has to answer that it is ready: others are starting beside it."""
TURN = ".loading"
START_S = 5.0
# Copying 8 MB takes about 3 ms, in which no other event of the process moves.
OFF_LOOP_BYTES = 4 << 20
LATENCIES = 200
CHANNEL = (
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Channels of one process share what they know of an address, a refused connection too, unless told not to.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
)


class Inference(Protocol):
    """What the steps ask of a model server."""

    async def infer(self, model: str, inputs: Mapping[str, Tensor], *, priority: int, deadline_s: float) -> Tensors:
        """Runs `inputs`, each (rows, ...), and returns every output, each (rows, ...).

        `priority` is 1 (stat) or 2 (routine). Raises Overloaded (back off), ServerDown (park) or InvalidForModel
        (these inputs will never pass), within `deadline_s` seconds.
        """
        ...

    async def ready(self, model: str) -> bool:
        """Whether `model` answers now; False for whatever goes wrong, within a second."""
        ...

    def deadline_s(self, model: str) -> float:
        """How long to wait for `model`: the settings' least, or five times its 99th percentile if that is longer."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """What a model has done since it was loaded; `rows / executions` is the mean batch size."""

    rows: int
    executions: int


class TritonClient:
    """One connection, for the event loop that uses it first; safe to share between the tasks of that loop."""

    def __init__(self, settings: TritonSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._opened: grpc_aio.InferenceServerClient | None = None
        self._latencies: dict[str, deque[float]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight fail as ServerDown. A later call opens a new one."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def deadline_s(self, model: str) -> float:
        """Seconds to wait for `model`, from its last answers."""
        seen = self._latencies.get(model)
        slow = sorted(seen)[int(0.99 * len(seen))] if seen else 0.0
        return max(self._settings.deadline_s, 5.0 * slow)

    async def infer(self, model: str, inputs: Mapping[str, Tensor], *, priority: int, deadline_s: float) -> Tensors:
        """Runs one request; see `Inference.infer`. A failure inside the server is tried once more before it counts."""
        ends = self._clock.monotonic() + deadline_s
        # What is left after the request pays for finding out what was wrong with it.
        request_s = max(deadline_s - PROBE_S, 0.8 * deadline_s)
        try:
            return await self._infer(model, inputs, priority, request_s)
        except InferenceServerException as error:
            failed = await self._classify(model, error, ends)
        if failed is None:
            try:
                return await self._infer(model, inputs, priority, max(0.1, ends - self._clock.monotonic()))
            except InferenceServerException as error:
                failed = await self._classify(model, error, ends, again=True)
        assert failed is not None
        raise failed

    async def ready(self, model: str) -> bool:
        """Whether `model` is loaded and the server answers within a second."""
        try:
            return bool(await self._client().is_model_ready(model, client_timeout=PROBE_S))
        except InferenceServerException:
            return False

    async def probe(self) -> None:
        """Raises ServerDown unless the server answers that it is ready, within a second."""
        if not await self._call(lambda client: client.is_server_ready(client_timeout=PROBE_S)):
            raise ServerDown("Triton answers that it is not ready")

    async def loaded(self) -> set[str]:
        """Names of the models that are ready; raises ServerDown."""
        return {name for name, state in (await self._index()).items() if state == "READY"}

    async def load(self, model: str) -> None:
        """Loads (or loads anew) one model and returns when it answers; raises ServerDown with Triton's reason."""
        await self._call(lambda client: client.load_model(model, client_timeout=LOAD_S), f"{model} could not be loaded")
        ends = self._clock.monotonic() + READY_S
        while not await self.ready(model):
            if self._clock.monotonic() > ends:
                raise ServerDown(f"{model} was loaded but is not ready")
            await self._clock.sleep(0.1)

    async def unload(self, model: str) -> None:
        """Unloads one model; no error when it is not loaded."""
        await self._call(lambda client: client.unload_model(model, client_timeout=LOAD_S))
        ends = self._clock.monotonic() + LOAD_S
        while (await self._index()).get(model) in {"READY", "LOADING", "UNLOADING"}:
            if self._clock.monotonic() > ends:
                raise ServerDown(f"{model} does not unload: requests are still running")
            await self._clock.sleep(0.05)

    async def reconcile(self, wanted: Sequence[str]) -> list[str]:
        """Loads those of `wanted` that do not answer and returns their names; a second call finds nothing to do.

        Triton in explicit mode starts empty, so this follows every start. A model that is half there is unloaded
        first: loading over it may keep the old version. Waits a few seconds for a server that has only just started.
        One process of a repository at a time: two that load and unload the same models keep them from ever being
        ready, and Triton 2.51 can crash of it. Raises ServerDown naming the models that would not load.
        """
        async with turn(self._settings.repository / TURN, self._clock, LOAD_S, "is loading models"):
            return await self._reconcile(wanted)

    async def _reconcile(self, wanted: Sequence[str]) -> list[str]:
        await self._wait_for_server()
        states = await self._settled()
        missing = [name for name in wanted if states.get(name) != "READY"]
        # Side by side: starting a model process is mostly waiting for imports.
        asked = [self._bring(name, known=bool(states.get(name))) for name in missing]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ServerDown):
                raise answer
        broken = [str(answer) for answer in answers if answer is not None]
        if broken:
            raise ServerDown("; ".join(broken))
        return missing

    async def _settled(self) -> dict[str, str]:
        """The state of each model when none is on its way: who began that may be gone, and its models come still."""
        ends = self._clock.monotonic() + LOAD_S
        while True:
            states = await self._index()
            if not {"LOADING", "UNLOADING"} & set(states.values()) or self._clock.monotonic() > ends:
                return states
            await self._clock.sleep(0.2)

    async def _bring(self, name: str, *, known: bool) -> None:
        if known:
            await self.unload(name)
        await self.load(name)

    async def load_of(self, model: str) -> Load:
        """Rows and executions of `model` since it was loaded, its warm-up among them; raises ServerDown."""
        answer = await self._call(lambda client: client.get_inference_statistics(model, client_timeout=PROBE_S))
        rows = sum(int(stats.inference_count) for stats in answer.model_stats)
        return Load(rows=rows, executions=sum(int(stats.execution_count) for stats in answer.model_stats))

    def _client(self) -> grpc_aio.InferenceServerClient:
        if self._opened is None:
            self._opened = grpc_aio.InferenceServerClient(self._settings.grpc, channel_args=CHANNEL)
        return self._opened

    async def _infer(self, model: str, inputs: Mapping[str, Tensor], priority: int, timeout_s: float) -> Tensors:
        started = self._clock.monotonic()
        if sum(array.nbytes for array in inputs.values()) > OFF_LOOP_BYTES:
            tensors = await asyncio.to_thread(_to_wire, inputs)
        else:
            tensors = _to_wire(inputs)
        answer = await self._client().infer(model, tensors, priority=priority, client_timeout=timeout_s)
        self._latencies.setdefault(model, deque(maxlen=LATENCIES)).append(self._clock.monotonic() - started)
        return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}

    async def _classify(
        self, model: str, error: InferenceServerException, ends: float, *, again: bool = False
    ) -> Exception | None:
        """The error of ours for one of Triton's; None where the same request deserves a second try.

        UNAVAILABLE and a passed deadline mean "busy" from a model that is ready and "down" otherwise. An input is to
        blame only if the model refuses it and answers its warm-up; a failure inside the server must happen twice.
        """
        status, text = str(error.status()).removeprefix("StatusCode."), error.message()
        if status in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}:
            busy = await self.ready(model)
            return Overloaded(f"{model}: {text}") if busy else ServerDown(f"{model}: {text}")
        if status == "NOT_FOUND" or not await self._answers_warm_up(model, ends):
            return ServerDown(f"{model}: {text}")
        if status == "INVALID_ARGUMENT" or again:
            return InvalidForModel(f"{model} refuses this input: {text}")
        return None

    async def _answers_warm_up(self, model: str, ends: float) -> bool:
        """Whether `model` answers one row of zeros in the time that is left."""
        left_s = max(0.2, ends - self._clock.monotonic())
        try:
            metadata = await self._client().get_model_metadata(model, client_timeout=left_s)
            zeros = {
                spec.name: np.zeros([max(1, size) for size in spec.shape], triton_to_np_dtype(spec.datatype))
                for spec in metadata.inputs
            }
            await self._client().infer(model, _to_wire(zeros), client_timeout=left_s)
        except InferenceServerException:
            return False
        return True

    async def _wait_for_server(self) -> None:
        """Returns when the server is ready; raises ServerDown after `START_S` without it."""
        ends = self._clock.monotonic() + START_S
        while True:
            try:
                return await self.probe()
            except ServerDown:
                if self._clock.monotonic() > ends:
                    raise
            await self._clock.sleep(0.2)

    async def _index(self) -> dict[str, str]:
        answer = await self._call(lambda client: client.get_model_repository_index(client_timeout=PROBE_S * 5))
        return {row.name: row.state for row in answer.models}

    async def _call(
        self, ask: Callable[[grpc_aio.InferenceServerClient], Coroutine[Any, Any, Any]], what: str = "Triton"
    ) -> Any:
        try:
            return await ask(self._client())
        except InferenceServerException as error:
            raise ServerDown(f"{what}: {error.message()}") from None


async def reconcile(settings: TritonSettings, wanted: Sequence[str]) -> list[str]:
    """Loads what is missing of `wanted` over a connection of its own; see `TritonClient.reconcile`."""
    async with TritonClient(settings) as client:
        return await client.reconcile(wanted)


def _to_wire(inputs: Mapping[str, Tensor]) -> list[grpc_aio.InferInput]:
    wire = []
    for name, array in inputs.items():
        tensor = grpc_aio.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        wire.append(tensor)
    return wire

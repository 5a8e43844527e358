"""The imaging baseline: the same decoding and preprocessing, then Triton driven directly; no log, no database."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from adapters import bootstrap, dicom_reading, imaging, quality
from adapters.pixels import BlobStore
from adapters.triton import PRIORITIES, Inference, triton_name
from consumers import infer
from schemas import ids
from schemas.events import ImageObserved
from triton_models.model import Model, Tensor


async def rate(
    store: BlobStore, inference: Inference, model: Model, images: Sequence[ImageObserved], processes: int
) -> float:
    """Images a second, with the threads of the lane's `processes` together, its request sizes and as many at once."""
    size = infer.BATCHES["routine"].max_events
    at_once = asyncio.Semaphore(infer.BATCHES["routine"].at_once)
    started = time.monotonic()
    with ThreadPoolExecutor(bootstrap.DECODER_THREADS * processes) as decoders:
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        await asyncio.gather(*(_chunk(store, inference, model, chunk, decoders, at_once) for chunk in chunks))
    return len(images) / (time.monotonic() - started)


async def _chunk(
    store: BlobStore,
    inference: Inference,
    model: Model,
    chunk: Sequence[ImageObserved],
    decoders: ThreadPoolExecutor,
    at_once: asyncio.Semaphore,
) -> None:
    loop = asyncio.get_running_loop()
    async with at_once:
        files = await asyncio.gather(*(store.get(image.blob.uri) for image in chunk))
        tensors = await asyncio.gather(*(loop.run_in_executor(decoders, _tensor, model, data) for data in files))
        name = triton_name(model.card.name, model.card.version, False)
        outputs = await inference.infer(
            name,
            {model.card.inputs[0].name: np.stack(tensors)},
            priority=PRIORITIES["routine"],
            deadline_s=inference.deadline_s(name),
        )
        model.decode(outputs)


def _tensor(model: Model, data: bytes) -> Tensor:
    """What the lane does to a file, the two hashes by which it knows file and content and the quality gate included."""
    ids.sha256_hex(data)
    image = dicom_reading.decode_dicom(data)
    imaging.pixel_hash(image)
    shown = imaging.to_display(image)
    quality.fault(image, shown, model.card.intended_use.shows)
    return model.prepare(shown)

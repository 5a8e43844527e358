"""Every real DICOM file of the development data through `prepare`: each ends in a defined way, none stops the lane."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import triton_models
from adapters.clock import SystemClock
from adapters.fakes.blobs import FakeBlobs
from consumers.outcomes import DeadLetter, Decide, Publish
from consumers.prepare import Prepare
from tests.support import steps

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "dicom"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the development data is not on this machine")
async def test_every_file_of_the_corpus_ends_with_a_reason_that_a_person_understands() -> None:
    store, ledger = FakeBlobs(), steps.FakeLedger()
    files = sorted(path for path in CORPUS.rglob("*") if path.is_file())
    ends: dict[str, int] = {}
    with ThreadPoolExecutor(2) as decoders:
        lane = Prepare(
            "routine",
            triton_models.discover(),
            store=store,
            database=ledger,
            decoders=decoders,
            clock=SystemClock(),
            key=steps.KEY,
        )
        for path in files:
            data = path.read_bytes()
            event = steps.image_observed(data, modality="")
            store.objects[event.blob.uri] = data
            (outcomes,) = await lane([steps.delivery(event, topic="observed.dicom")])
            assert len(outcomes) == 1, path.name
            ends[kind(outcomes[0])] = ends.get(kind(outcomes[0]), 0) + 1
    assert sum(ends.values()) == len(files)
    # Ultrasound, CT, reports and the like: nobody claims them, and they are no failures.
    assert ends["not_applicable"] > 300
    assert ends["unprocessable"] >= 9
    assert "failed" not in ends


def kind(outcome: Publish | Decide | DeadLetter) -> str:
    match outcome:
        case Publish():
            return "prepared"
        case Decide():
            assert len(outcome.outcome.reason) > 10
            return outcome.outcome.fate
        case DeadLetter():
            assert len(outcome.reason) > 10
            return outcome.kind

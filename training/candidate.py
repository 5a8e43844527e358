"""One candidate in a process of its own: trained, judged beside the serving version, and the verdict in a file.

`python -m training candidate ORDER.json`: a crash, a hang or a lack of memory here leaves the worker alone.
"""

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import triton_models
from schemas.card import OperatingPoint
from schemas.errors import UserError
from training import gate, run
from triton_models.candidate import card_of

VERDICT = "verdict.json"
METADATA = "metadata.json"
ORPHAN_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the child is told: folders and files as paths; `serving` is the version that answers now."""

    task: str
    snapshot: str
    out: str
    version: str
    serving: str
    serving_weights: str
    serving_point: dict[str, Any] | None
    serving_band: tuple[float, float]
    quick: bool = False


def work(path: Path) -> int:
    """Does what the assignment in `path` says; the verdict is written last and whole. 0, or 2 with the reason."""
    threading.Thread(target=_die_with(os.getppid()), daemon=True).start()
    try:
        _work(Assignment(**json.loads(path.read_text(encoding="utf-8"))))
    except UserError as error:
        print(error, flush=True)
        return 2
    return 0


def _work(given: Assignment) -> None:
    out, snapshot = Path(given.out), Path(given.snapshot)
    model = triton_models.discover()[given.task]
    trained = run.run(run.Order(given.task, snapshot, out, quick=given.quick), lambda line: print(line, flush=True))
    card = card_of(model.card, out / METADATA, given.version)
    mine = dict(model.judge(trained.onnx, snapshot, card))
    point = OperatingPoint(**given.serving_point) if given.serving_point else None
    served = replace(
        model.card,
        version=given.serving,
        operating_point=point,
        abstention_band=(given.serving_band[0], given.serving_band[1]),
    )
    theirs = dict(model.judge(Path(given.serving_weights), snapshot, served))
    judgement = gate.judge(card.gate, mine, theirs, f"serving {given.serving}")
    verdict = {
        "passed": judgement.passed,
        "why": judgement.why,
        "weights": str(trained.onnx),
        "operating_point": asdict(card.operating_point) if card.operating_point else None,
        "abstention_band": list(card.abstention_band),
        "preprocessing_version": card.preprocessing_version,
        "figures": {"candidate": mine, "serving": theirs},
        "trained": {**asdict(trained), "onnx": trained.onnx.name},
    }
    part = out / f"{VERDICT}.part"
    part.write_text(json.dumps(verdict, indent=1, default=str), encoding="utf-8")
    part.replace(out / VERDICT)


def _die_with(parent: int) -> Any:
    """Ends this process when the worker that started it is gone: nobody would take the result."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_LOOK_S)
        os._exit(3)

    return watch

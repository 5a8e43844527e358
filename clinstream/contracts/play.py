"""A play of golden events for whoever builds a subscriber: what could be delivered, and what a right one ends with.

Deterministic by its seed; sending is `stage`'s part. Every delivery is one that the contract allows: repeats
(also of a whole stretch, as after a restart), any order across keys, later words about a result, fields and event
types of a later version.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec

from clinstream.contracts import examples
from clinstream.contracts.examples import AT, Travelling
from schemas import envelope, ids
from schemas.events import ResultPublished

State = dict[str, dict[str, Any]]
UNKNOWN_TYPE = "org.clinstream.result.annotated.v1"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a subscriber gets it; `case` says what it is there to prove."""

    case: str
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(frozen=True, slots=True)
class Case:
    """What happens to one subject's result, in the order of its key, and what is to be shown of it in the end."""

    name: str
    deliveries: Sequence[Delivery]
    final: State


@dataclass(frozen=True, slots=True)
class Play:
    """All deliveries in the order of sending, and the final state by `<object id>/<task>`."""

    deliveries: list[Delivery] = field(default_factory=list)
    final: State = field(default_factory=dict)


def script(
    task: str, seed: int = 0, *, labels: tuple[str, str] = ("pneumonia", "normal"), simulated: bool = True
) -> Play:
    """The whole play about `task`, whose results are the first of `labels`; another seed gives other subjects and
    another order."""
    rng = random.Random(f"{task}/{seed}")
    makers = (_plain, _repeated, _revised, _amended, _withdrawn, _withdrawn_then_repeated, _later_minor, _abstained)
    cases = [make(_Cast(task, seed, make.__name__.strip("_"), labels, simulated)) for make in makers]
    waiting = [list(_with_rewinds(case.deliveries, rng)) for case in cases]
    order: list[Delivery] = []
    while any(waiting):
        order.append(rng.choice([queue for queue in waiting if queue]).pop(0))
    final: State = {}
    for case in cases:
        final.update(case.final)
    return Play(order, final)


def _with_rewinds(deliveries: Sequence[Delivery], rng: random.Random) -> list[Delivery]:
    """Once or twice the stretch up to some place is delivered again, as after a restart of a sender or reader."""
    told = list(deliveries)
    for _ in range(rng.randint(1, 2)):
        upto = rng.randint(1, len(told))
        told = told[:upto] + told[rng.randrange(upto) : upto] + told[upto:]
    return told


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who a case is about."""

    task: str
    seed: int
    case: str
    labels: tuple[str, str]
    simulated: bool

    @property
    def subject(self) -> str:
        """Pseudonym of the case's subject."""
        return ids.subject_id(b"contract play", f"seed {self.seed}", self.case)

    @property
    def thing(self) -> str:
        """Object id of what was observed."""
        known = f"play/{self.seed}/{self.case}"
        return f"{ids.SIMULATED}{known}" if self.simulated else known

    @property
    def place(self) -> str:
        """Key of the final state."""
        return f"{self.thing}/{self.task}"

    def result(self, revision: int = 1, before: ResultPublished | None = None, **changes: Any) -> ResultPublished:
        """A visible result; another revision is of another content."""
        given = examples.answer(
            self.task,
            self.subject,
            self.thing,
            labels=self.labels,
            content=ids.sha256_hex(f"{self.thing}/{revision}".encode()),
            score=round(0.5 + revision / 10, 2),
            simulated=self.simulated,
        )
        given = msgspec.structs.replace(given, **changes)
        return examples.published(given, revision, before.result_id if before else None)

    def deliver(self, event: Any, name: str, minute: int, **extra: Any) -> Delivery:
        """The event as it travels, `extra` fields of a later version added to its value."""
        headers, value = Travelling(event, name, self.subject, self.subject).packed(AT + timedelta(minutes=minute))
        if extra:
            value = json.dumps({**json.loads(value), **extra}).encode()
        return Delivery(self.case, self.subject.encode(), headers, value)

    def about(self, word: str) -> str:
        """Id of a later word about this case's result."""
        return str(ids.event_id(self.thing, word))

    def shown(self, result: ResultPublished, status: str = "current", **more: Any) -> State:
        """What a right subscriber holds of this case in the end."""
        return {
            self.place: {
                "result_id": str(result.result_id),
                "subject_id": self.subject,
                "revision": result.revision,
                "status": status,
                "label": result.answer.label,
                "score": result.answer.score,
                "changed": more.get("changed", {}),
            }
        }


def _plain(cast: _Cast) -> Case:
    result = cast.result()
    return Case(cast.case, [cast.deliver(result, str(result.result_id), 0)], cast.shown(result))


def _repeated(cast: _Cast) -> Case:
    result = cast.result()
    same = cast.deliver(result, str(result.result_id), 0)
    return Case(cast.case, [same, same, same], cast.shown(result))


def _revised(cast: _Cast) -> Case:
    """The object came again with other content; the first result is delivered late once more."""
    first = cast.result()
    second = cast.result(2, first)
    old = cast.deliver(first, str(first.result_id), 0)
    return Case(cast.case, [old, cast.deliver(second, str(second.result_id), 5), old], cast.shown(second))


def _amended(cast: _Cast) -> Case:
    result, changed = cast.result(), {"priority": "stat"}
    word = examples.amended(result, changed, "the priority was corrected")
    told = [cast.deliver(result, str(result.result_id), 0), cast.deliver(word, cast.about("amended"), 3)]
    return Case(cast.case, told, cast.shown(result, changed=changed))


def _withdrawn(cast: _Cast) -> Case:
    result = cast.result()
    word = examples.withdrawn(result, "the image belongs to another patient")
    told = [cast.deliver(result, str(result.result_id), 0), cast.deliver(word, cast.about("withdrawn"), 3)]
    return Case(cast.case, told, cast.shown(result, "withdrawn"))


def _withdrawn_then_repeated(cast: _Cast) -> Case:
    """The result is delivered once more after it was withdrawn: it must not come back."""
    case = _withdrawn(cast)
    return replace(case, deliveries=[*case.deliveries, case.deliveries[0]])


def _later_minor(cast: _Cast) -> Case:
    """Fields, headers and a type of event that a later version adds."""
    result = cast.result()
    added = {
        "explanation": {"map": {"uri": "explanations/1", "regions": [[1, 2, 3, 4]]}},
        "ranks": [1, 2, 3],
        "answer": {**json.loads(envelope.to_json(result.answer)), "calibration": "isotonic", "uncertainty": 0.07},
    }
    told = cast.deliver(result, str(result.result_id), 0, **added)
    told = replace(told, headers=[*told.headers, ("ce_sequence", b"17"), ("x-new-header", b"\xff\x00")])
    unknown = [
        (name, UNKNOWN_TYPE.encode() if name == "ce_type" else content)
        for name, content in told.headers
        if name not in ("ce_id", "ce_dataschema")
    ]
    note = json.dumps({"result_id": str(result.result_id), "note": {"text": "of a later version"}}).encode()
    other = Delivery(cast.case, told.key, [*unknown, ("ce_id", cast.about("annotated").encode())], note)
    return Case(cast.case, [told, other], cast.shown(result))


def _abstained(cast: _Cast) -> Case:
    """The model named a label and declined to stand by it: shown as the contract says, never dropped."""
    result = cast.result(abstained=True, reason="the score lies in the abstention band")
    return Case(cast.case, [cast.deliver(result, str(result.result_id), 0)], cast.shown(result))

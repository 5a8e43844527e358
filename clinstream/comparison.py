"""A result beside the one before it of the same patient, said to a person or a machine; which it is, SQL decides."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from adapters.database import StoredResult
from clinstream.told import score_of, told
from schemas.events import ResearchMeasurement

Comparison = Literal["", "unchanged", "changed", "not_comparable"]


def compared(now: StoredResult, prior: StoredResult | None) -> Comparison:
    """Whether the label is another one than before; empty without a result before.

    Where either abstained, or nothing was said because it was too old, nothing can be compared.
    """
    if prior is None:
        return ""
    mine, before = now.result.answer, prior.result.answer
    if mine.abstained or before.abstained or not (mine.probabilities and before.probabilities):
        return "not_comparable"
    return "unchanged" if mine.label == before.label else "changed"


def as_json(now: dict[str, Any], prior: dict[str, Any] | None, comparison: Comparison) -> dict[str, Any]:
    """The result, with the one before it under `prior`."""
    return {**now, "comparison": comparison, "prior": prior}


def research_as_json(stored: StoredResult) -> dict[str, Any]:
    """What was measured for research, under a name that says so; empty where nothing was."""
    found = stored.result.answer.research
    return {"research_not_validated": msgspec.to_builtins(found)} if found else {}


def lines(now: StoredResult, prior: StoredResult | None) -> list[str]:
    """What there is to say of a result, a line each."""
    answer = now.result.answer
    said = [_said(now)]
    if answer.reason:
        said.append(f"  because {answer.reason}")
    said += [f"  warning: {warning}" for warning in answer.warnings]
    if prior is None:
        said.append("  no earlier study of this patient has a result of this model")
        return [*said, answer.notice, *_research(answer.research or ())]
    words = {"unchanged": "unchanged since", "changed": "changed since", "not_comparable": "cannot be compared with"}
    said.append(f"  {words[compared(now, prior)]} {_said(prior)}")
    return [*said, answer.notice, *_research(answer.research or ())]


def _research(found: Sequence[ResearchMeasurement]) -> Iterator[str]:
    """What was measured for research, apart from the result and without a judgement."""
    for each in found:
        yield f"research, not validated: {each.name} " + (
            f"none: {each.reason}" if each.value is None else str(each.value)
        )
        yield f"  by {each.method}, version {each.method_version}"
        if each.range:
            yield f"  {each.range.group}: up to about {each.range.high:.2f} ({each.range.source})"
        yield f"  {each.notice}"


def _said(stored: StoredResult) -> str:
    result, answer = stored.result, stored.result.answer
    told_so = told(answer) + (" (abstained)" if answer.abstained else "")
    withdrawn = ", withdrawn" if stored.withdrawn_at else ""
    return (
        f"{stored.visible_at:%Y-%m-%d %H:%M} {result.task} {answer.version}: {told_so} {score_of(answer)}".rstrip()
        + f", revision {result.revision}{withdrawn}, result {result.result_id}"
    )

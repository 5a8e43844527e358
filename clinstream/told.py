"""How an answer is said to a person on one line; machines read the answer itself."""

import msgspec

from schemas.events import Answer

SAID_MINUTES = (30, 60, 120)


def told(answer: Answer) -> str:
    """The label, or of a forecast what is expected at 30, 60 and 120 minutes with its interval, in mg/dL."""
    if not answer.forecast:
        return answer.label
    points = [point for point in answer.forecast if point.horizon_minutes in SAID_MINUTES] or list(answer.forecast)
    said = [
        f"{point.horizon_minutes} min {point.glucose_mg_dl:.0f} ({point.low:.0f}-{point.high:.0f})" for point in points
    ]
    return ", ".join(said)


def score_of(answer: Answer) -> str:
    """The score, empty where the answer has none: a forecast, or that there is none."""
    return f"{answer.score:.3f}" if answer.probabilities else ""


def without_research(answer: Answer) -> Answer:
    """The answer without what is measured for research: `clinstream results show` alone shows that, apart."""
    return msgspec.structs.replace(answer, research=msgspec.UNSET)

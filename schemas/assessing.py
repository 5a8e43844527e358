"""How a clinician's assessment of a result becomes an event, whichever door it came through; no door is known here."""

from datetime import datetime
from uuid import UUID

from schemas import ids
from schemas.errors import Unprocessable
from schemas.events import ResultAssessed, Verdict


def assessment(
    result_id: UUID,
    verdict: Verdict,
    label: str,
    clinician: str,
    *,
    idempotency_key: str,
    key: bytes,
    when: datetime,
    sender: str,
) -> ResultAssessed:
    """The event; `clinician` is a name, which `key` makes a pseudonym. Raises Unprocessable for a label out of place.

    The client's `idempotency_key` makes a repeat the same assessment.
    """
    label = label.strip()
    if verdict == "supplemented" and not label:
        raise Unprocessable("supplemented needs a label: what the result lacks")
    if verdict == "accepted" and label:
        raise Unprocessable("accepted takes no label: say rejected where another label is right")
    if not clinician.strip():
        raise Unprocessable("the clinician is empty")
    pseudonym = ids.clinician_id(key, clinician)
    return ResultAssessed(
        override_id=ids.override_id(result_id, pseudonym, verdict, label, idempotency_key),
        result_id=result_id,
        clinician_id=pseudonym,
        verdict=verdict,
        label=label,
        assessed_at=when,
        sender=sender,
    )

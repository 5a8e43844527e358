"""Pictures of ears through the HTTP door, one a post; which ear a file shows is in its name or said, never guessed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from adapters import bare_picture
from clinstream.sending import posting
from clinstream.sending.sent import Sent
from producers import otoscope
from schemas.errors import Unprocessable


@dataclass(frozen=True, slots=True)
class Saying:
    """What is said of every file; where laterality or subject is empty, the file's name says it."""

    laterality: str = ""
    subject: str = ""
    stat: bool = False
    simulated: bool = False


def send(paths: Iterator[Path], url: str, saying: Saying, *, pause: Callable[[float], None]) -> Iterator[Sent]:
    """One line for each file, in order."""
    with httpx.Client(base_url=url, timeout=posting.TIMEOUT_S, trust_env=False) as client:
        for path in paths:
            yield _send(client, path, saying, pause)


def fields(path: Path, saying: Saying) -> dict[str, str]:
    """The fields of a file's form; raises Unprocessable where neither the name nor the caller says which ear it is."""
    subject, laterality = saying.subject, saying.laterality
    if not (subject and laterality):
        try:
            named_subject, named_side = otoscope.named(path.stem)
        except Unprocessable:
            if not laterality:
                raise
            named_subject, named_side = path.stem, ""
        subject, laterality = subject or named_subject, laterality or named_side
    return {
        "subject": subject,
        "laterality": laterality,
        "stat": str(saying.stat).lower(),
        "simulated": str(saying.simulated).lower(),
    }


def _send(client: httpx.Client, path: Path, saying: Saying, pause: Callable[[float], None]) -> Sent:
    place = str(path)
    try:
        data = path.read_bytes()
        media_type = bare_picture.form(data)
        if not media_type:
            return Sent(place, "unreadable", "neither JPEG nor PNG; DICOM files go with `send dicom`")
        form: Any = fields(path, saying)
    except OSError as error:
        return Sent(place, "unreadable", f"the file cannot be read: {error.strerror}")
    except Unprocessable as error:
        return Sent(place, "unreadable", str(error))
    # The file's own name stays at home: it may hold a person's.
    answer = posting.repeated(
        lambda: client.post("/v1/otoscope", data=form, files={"image": ("picture", data, media_type)}), pause
    )
    if isinstance(answer, str):
        return Sent(place, "retry", answer)
    if answer.status_code != 200:
        return Sent(place, "refused", posting.said(answer))
    return Sent(place, "accepted", "", answer.json()["event_id"])

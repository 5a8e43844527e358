"""`clinstream override`: a clinician's assessment of a result, through the review door; what it counts is elsewhere."""

import json
import sys
import time
from typing import Annotated
from uuid import UUID, uuid4

import typer

from schemas.errors import UserError

TRIES = 5
FIRST_PAUSE_S = 0.5
VERDICTS = ("accepted", "rejected", "supplemented")


def override(
    result_id: Annotated[str, typer.Argument(metavar="RESULT_ID", help="As `clinstream results --json` shows it.")],
    by: Annotated[str, typer.Option("--by", help="The clinician; events carry a pseudonym.")],
    label: Annotated[str, typer.Option(help="The label that is right instead, or what the result lacks.")] = "",
    verdict: Annotated[str, typer.Option(help="accepted, rejected or supplemented.")] = "rejected",
    idempotency_key: Annotated[str, typer.Option(help="A repeat with the same key is one assessment.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Say what a clinician thinks of a result. A result is never changed by it: the assessment is kept beside it.

    Exit 0: taken; 1: refused; 2: usage; 3: the door does not answer.

    Examples: clinstream override 6a3c1c44-5f6b-5c3e-9d0e-4f6f3f1f8a01 --label normal --by dr-lee
    """
    import httpx  # on use, as all that takes time to import
    import msgspec

    from adapters import settings

    try:
        wanted = UUID(result_id)
    except ValueError:
        raise UserError(f"{result_id!r} is no result id; `clinstream results --json` shows them.") from None
    if verdict not in VERDICTS:
        raise UserError(f"The verdict is one of {', '.join(VERDICTS)}.")
    doors = settings.load().doors
    key = idempotency_key or str(uuid4())
    body = msgspec.json.encode({"verdict": verdict, "label": label, "clinician": by})
    headers = {"content-type": "application/json", "idempotency-key": key}
    url = f"http://{doors.http_host}:{doors.http_port}/v1/results/{wanted}/assessments"
    for attempt in range(TRIES):
        try:
            answer = httpx.post(url, content=body, headers=headers, timeout=60.0, trust_env=False)
        except httpx.TransportError:
            print(
                "The HTTP door does not answer. Is the stack up? `clinstream status` tells; `clinstream up` starts it.",
                file=sys.stderr,
            )
            raise typer.Exit(3) from None
        if answer.status_code != 503:
            break
        time.sleep(FIRST_PAUSE_S * 2**attempt)
    found = answer.json()
    if answer.status_code != 200:
        print(f"Not taken: {found.get('error', answer.status_code)}", file=sys.stderr)
        raise typer.Exit(1)
    if as_json:
        print(json.dumps({"override_id": found["override_id"], "result_id": str(wanted), "idempotency_key": key}))
    else:
        print(f"Taken as {found['override_id']} (idempotency key {key}).")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(override)

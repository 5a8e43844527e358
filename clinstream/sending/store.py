"""The storage service class user: objects over associations, repeated where the door says "try again"."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any

from pynetdicom import AE, _config, build_context, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from clinstream.sending.objects import StorageObject
from clinstream.sending.sent import Sent

MEDIUM, HIGH = 0, 1
"""Priority (0000,0700): LOW is 2, PS3.7 9.3.1.1."""

MAX_CONTEXTS = 128
"""Presentation contexts an association may propose: odd identifiers 1 to 255, PS3.8 9.3.2.2."""

CHUNK_OBJECTS = 64
CHUNK_BYTES = 64 << 20
TRIES = 5
FIRST_PAUSE_S = 0.5
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """The door, and how urgent what it is sent shall be taken."""

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str = "CLINSTREAM_SEND"
    urgent: bool = False


def answers(target: Target) -> bool:
    """Whether the door answers a C-ECHO."""
    association = _associate(target, [(Verification, "1.2.840.10008.1.2")])
    if not association.is_established:
        return False
    try:
        return bool(association.send_c_echo().get("Status") == 0x0000)
    finally:
        association.release()


def send(
    objects: Iterable[StorageObject | Sent],
    target: Target,
    *,
    associations: int = 2,
    tries: int = TRIES,
    pause: Callable[[float], None],
    told: Callable[[Sent], None] = lambda _line: None,
) -> Iterator[Sent]:
    """One line for each object, in order; `pause` waits between tries. Lines of unreadable files pass through.

    `told` is called with each answer when it comes, in the association's thread.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    chunks = _chunks(objects)
    with ThreadPoolExecutor(associations, thread_name_prefix="send") as pool:
        sending = partial(_send_chunk, target=target, tries=tries, pause=pause, told=told)
        waiting = [pool.submit(sending, chunk) for chunk in islice(chunks, associations + 1)]
        while waiting:
            yield from waiting.pop(0).result()
            waiting += [pool.submit(sending, chunk) for chunk in islice(chunks, 1)]


def _chunks(objects: Iterable[StorageObject | Sent]) -> Iterator[list[StorageObject | Sent]]:
    """Runs of objects that one association can carry and memory can hold."""
    chunk: list[StorageObject | Sent] = []
    contexts: set[tuple[str, str]] = set()
    size = 0
    for item in objects:
        needs = {item.context} if isinstance(item, StorageObject) else set()
        if chunk and (len(chunk) >= CHUNK_OBJECTS or size >= CHUNK_BYTES or len(contexts | needs) > MAX_CONTEXTS):
            yield chunk
            chunk, contexts, size = [], set(), 0
        chunk.append(item)
        contexts |= needs
        size += len(item.data) if isinstance(item, StorageObject) else 0
    if chunk:
        yield chunk


def _send_chunk(
    chunk: Sequence[StorageObject | Sent],
    target: Target,
    tries: int,
    pause: Callable[[float], None],
    told: Callable[[Sent], None],
) -> list[Sent]:
    """Sends until each object has an answer that repeating would not change, at most `tries` times."""
    lines: dict[int, Sent] = {place: item for place, item in enumerate(chunk) if isinstance(item, Sent)}
    left = {place: item for place, item in enumerate(chunk) if isinstance(item, StorageObject)}
    for attempt in range(tries):
        if not left:
            break
        if attempt:
            pause(FIRST_PAUSE_S * 2 ** (attempt - 1))
        for place, line in _over_one_association(left, target):
            lines[place] = line
            told(line)
        left = {place: item for place, item in left.items() if lines[place].status == "retry"}
    return [lines[place] for place in range(len(chunk))]


def _over_one_association(objects: dict[int, StorageObject], target: Target) -> Iterator[tuple[int, Sent]]:
    """A line for each object; where the association could not be had or broke, `retry` for what was left."""
    association = _associate(target, list(dict.fromkeys(item.context for item in objects.values())))
    if not association.is_established:
        reason = _why_not(association)
        for place, item in objects.items():
            yield place, Sent(item.path, "retry", reason)
        return
    try:
        for number, (place, item) in enumerate(objects.items(), start=1):
            if association.is_established:
                yield place, _store(association, item, target, number)
            else:
                yield place, Sent(item.path, "retry", "the association ended early")
    finally:
        if association.is_established:
            association.release()


def _associate(target: Target, contexts: Sequence[tuple[str, str]]) -> Any:
    entity = AE(target.calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
    entity.connection_timeout = 10.0
    return entity.associate(
        target.host,
        target.port,
        # One context a pair: in a context with several transfer syntaxes the door would choose.
        contexts=[build_context(abstract, transfer) for abstract, transfer in contexts],
        ae_title=target.called_ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
    )


def _why_not(association: Any) -> str:
    if not association.is_rejected:
        return "the door does not answer"
    answer = association.acceptor.primitive
    transient = getattr(answer, "result", None) == 0x02
    return "the door is overloaded" if transient else "the door rejects this sender's association"


def _store(association: Any, item: StorageObject, target: Target, number: int) -> Sent:
    """One C-STORE with the data set's own bytes, and what its status (PS3.4 table B.2-1) means for the sender."""
    context = next(
        (
            accepted
            for accepted in association.accepted_contexts
            if (accepted.abstract_syntax, accepted.transfer_syntax[0]) == item.context
        ),
        None,
    )
    if context is None:
        return Sent(item.path, "refused", "the door does not take this SOP class in this transfer syntax")
    request = C_STORE()
    request.MessageID = number
    request.Priority = HIGH if target.urgent else MEDIUM
    try:
        request.AffectedSOPClassUID = item.sop_class_uid
        request.AffectedSOPInstanceUID = item.sop_instance_uid
    except ValueError:
        return Sent(item.path, "unreadable", "the SOP Instance UID is malformed")
    request.DataSet = BytesIO(item.data)
    response = _exchange(association, request, context.context_id)
    if response is None or response.Status is None:
        association.abort()
        return Sent(item.path, "retry", "the door did not answer the request")
    return _line(item, int(response.Status), str(response.ErrorComment or ""))


def _exchange(association: Any, request: C_STORE, context_id: int) -> Any:
    """Sends the request and waits for its response, as pynetdicom's send_c_store does, which would encode anew.

    The pause of the reactor keeps it from taking the response off the queue first.
    """
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.0001)
    try:
        association.dimse.send_msg(request, context_id)
        _, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return response


def _line(item: StorageObject, status: int, comment: str) -> Sent:
    reason = f"0x{status:04X}: {comment}" if comment else f"0x{status:04X}"
    if status == 0x0000 or status & 0xF000 == 0xB000:
        return Sent(item.path, "accepted", "" if status == 0x0000 else reason, item.event_id or None)
    if status & 0xFF00 == 0xA700:
        return Sent(item.path, "retry", reason)
    return Sent(item.path, "refused", reason)


def _no_delay(event: Any) -> None:
    """A request is several small writes: with Nagle's algorithm each would wait for the door's acknowledgement."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

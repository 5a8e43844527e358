"""C-STORE the short way: a data set is read to where it is written from and answered, in the thread of the connection.

pynetdicom hands each fragment on through a dozen objects and as many copies, and each request and response to another
thread. It still does everything else that an association does, and any C-STORE that is unusual.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from producers.dicom_command import StoreCommand, read_store_request, store_response
from producers.dicom_room import Room
from producers.dicom_waiting import CONNECTION_CLOSED, ESTABLISHED, INVALID_PDU, Waiting
from producers.store_request import Answer

COMMAND_BYTES: Final = 1 << 12
"""Longest command set that is read here: a C-STORE-RQ has some 200."""

ROOMY_PDU_BYTES: Final = 1 << 10
"""What a sender must take at once: a response is one PDU."""

P_DATA: Final = 4
PDU_HEAD, PDV_HEAD = struct.Struct(">BxI"), struct.Struct(">IBB")
COMMAND, LAST = 1, 2
"""Bits of a message control header (PS3.8 E.2)."""


Store = Callable[[Any, StoreCommand, str, Room], Answer]
"""Answers one data set (association, request, transfer syntax, data set); blocks until the answer is true."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What takes data sets; `refuse` ends the association of one with more than `object_bytes`."""

    store: Store
    refuse: Callable[[Any], None]
    object_bytes: int


@dataclass(frozen=True, slots=True)
class _Coming:
    """A C-STORE whose data set is on its way."""

    context_id: int
    asked: StoreCommand
    transfer_syntax_uid: str


class Receiving(Waiting):
    """The thread of a connection that takes data sets."""

    def __init__(self, association: Any, taking: Taking) -> None:
        super().__init__(association)
        self._taking = taking
        self._coming: _Coming | None = None
        self._room = Room()
        self._answering = False

    def idle_timer_expired(self) -> bool:
        """Whether nothing moved for too long; a sender that waits for our answer is not idle."""
        return not self._answering and bool(super().idle_timer_expired())

    def close(self) -> None:
        """As a waiting one; and gives the memory back, which an association's circles would hold for a while."""
        super().close()
        self._room.clear()

    def _rest(self) -> None:
        if self._coming is None:
            self._room.clear()

    def _read_pdu_data(self) -> None:
        """A PDU of a data set that is coming, the request of a new one, or whatever pynetdicom reads."""
        if self.state_machine.current_state != ESTABLISHED:
            self._coming = None
        try:
            if not (self._begins() if self._coming is None else self._continues()):
                super()._read_pdu_data()
        except (OSError, struct.error):  # the peer is gone, within a head too, or announces more than is allowed
            self.event_queue.put(CONNECTION_CLOSED)

    def _begins(self) -> bool:
        """Takes a PDU that begins a plain C-STORE; whether it was one."""
        if self.state_machine.current_state != ESTABLISHED or self.assoc.dimse.message is not None:
            return False
        length = self._data_length()
        if length is None or 0 < self.assoc.requestor.maximum_length < ROOMY_PDU_BYTES:
            return False
        head = PDU_HEAD.size + PDV_HEAD.size
        item, context_id, control = PDV_HEAD.unpack(self.socket.peek(head)[PDU_HEAD.size :])
        if control & (COMMAND | LAST) != COMMAND | LAST or not 2 < item <= min(COMMAND_BYTES, length - 4):
            return False
        asked = read_store_request(self.socket.peek(head + item - 2)[head:])
        context = self.assoc._accepted_cx.get(context_id)
        if asked is None or context is None:
            return False
        self.socket.skip(head + item - 2)
        self._room.begin()
        self._coming = _Coming(context_id, asked, str(context.transfer_syntax[0]))
        self._fragments(length - 4 - item)
        return True

    def _continues(self) -> bool:
        """Takes one more PDU of the data set; whether it was one."""
        length = self._data_length()
        if length is None:
            return False
        if self._room.size + length > self._taking.object_bytes:
            self._coming = None
            self._taking.refuse(self.assoc)
        else:
            self.socket.skip(PDU_HEAD.size)
            self._fragments(length)
        return True

    def _data_length(self) -> int | None:
        """Length of the P-DATA-TF PDU that is next; None for any other, and where the peer is gone."""
        head = self.socket.peek(PDU_HEAD.size)
        if len(head) < PDU_HEAD.size:
            return None
        kind, length = PDU_HEAD.unpack(head)
        if kind != P_DATA or length < PDV_HEAD.size:
            return None
        self.socket.allow(length)
        return int(length)

    def _fragments(self, left: int) -> None:
        """Reads the other `left` bytes of a PDU: fragments of the data set, which is answered after its last one."""
        ended = False
        while left and not ended:
            item, _, control = PDV_HEAD.unpack(self.socket.take(min(left, PDV_HEAD.size)).ljust(PDV_HEAD.size, b"\0"))
            left -= min(left, PDV_HEAD.size)
            if item < 2 or item - 2 > left or control & COMMAND:
                self.socket.skip(left)
                self._coming = None
                self.event_queue.put(INVALID_PDU)
                return
            with self._room.next(item - 2) as view:
                self.socket.fill(view)
            left -= item - 2
            ended = bool(control & LAST)
        self.socket.skip(left)  # what follows the last fragment belongs to nothing
        if ended:
            self._answer()

    def _answer(self) -> None:
        coming, self._coming = self._coming, None
        if coming is None:
            return
        self._answering = True
        try:
            answer = self._taking.store(self.assoc, coming.asked, coming.transfer_syntax_uid, self._room)
        finally:
            self._answering = False
        if not self.assoc._kill:
            self.socket.send(store_response(coming.context_id, coming.asked, answer.status, answer.reason))

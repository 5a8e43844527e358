"""An association's two threads asleep until something comes: pynetdicom's look around a thousand times a second each.

With 16 associations that was most of what the door's processes did. What is read and sent, nobody decides here.
"""

import contextlib
import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider

LOOK_S: Final = 0.5
"""Seconds between two looks at timers, which nothing announces."""

IDLE, ESTABLISHED, CLOSING = "Sta1", "Sta6", "Sta13"
ARTIM_EXPIRED, CONNECTION_CLOSED, INVALID_PDU = "Evt18", "Evt17", "Evt19"
"""States and events of the upper layer, PS3.8 9.2."""


class Telling(queue.Queue[Any]):
    """A queue that tells somebody who waits for more than this queue; `last` is what came last."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell
        self.last: Any = None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As ever."""
        self.last = item
        super().put(item, block, timeout)
        self._tell()


class Checkpoint(threading.Event):
    """What the thread of an association passes in each round; here it also sleeps until there is news."""

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Event()
        self.set()

    def tell(self) -> None:
        """Wakes the thread."""
        self._news.set()

    def set(self) -> None:
        """Opens the way, and wakes the thread."""
        super().set()
        self._news.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleeps until there is news, or it is time for a look, and the way is open."""
        self._news.wait(LOOK_S)
        self._news.clear()
        return super().wait(timeout)


class Waiting(DULServiceProvider):  # type: ignore[misc]  # pynetdicom ships no types
    """The thread of a connection, asleep in `select` with a bell of its own."""

    def __init__(self, association: Any) -> None:
        super().__init__(association)
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)

    def wake(self) -> None:
        """Ends its sleep, from any thread."""
        with contextlib.suppress(OSError):  # it rings already, or is over
            self._rope.send(b"\0")

    def close(self) -> None:
        """Gives back what only the thread used, once that has ended."""
        self._bell.close()
        self._rope.close()

    def run_reactor(self) -> None:
        """Until the connection is over: sends what there is to send, else reads; then moves the state machine."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()
        while not self._kill_thread:
            if self.artim_timer.expired:
                self.event_queue.put(ARTIM_EXPIRED)
            if not self._process_recv_primitive() and self._is_transport_event():
                self._idle_timer.restart()
            if not self.event_queue.empty():
                self.state_machine.do_action(self.event_queue.get(block=False))

    def stop_dul(self) -> bool:
        """As pynetdicom's, of a thread that may be asleep."""
        if self.state_machine.current_state == IDLE:
            self._kill_thread = True
        self.wake()
        return bool(super().stop_dul())

    def _is_transport_event(self) -> bool:
        """Waits for the peer or for something to send; whether there was something to read."""
        if self.state_machine.current_state == CLOSING or not self.event_queue.empty():
            return bool(super()._is_transport_event())
        if not self.socket.ahead and not self._readable():
            return False
        self._read_pdu_data()
        return True

    def _readable(self) -> bool:
        connection = self.socket.socket
        if connection is None:
            time.sleep(LOOK_S / 100)
            return False
        try:
            found, _, _ = select.select([connection, self._bell], [], [], LOOK_S)
        except (OSError, ValueError):  # another thread closed it
            self.event_queue.put(CONNECTION_CLOSED)
            return False
        if self._bell in found:
            self._bell.recv(4096)
        elif not found:
            self._rest()
        return connection in found

    def _rest(self) -> None:
        """Called while nothing comes."""


class WaitingAssociation(Association):  # type: ignore[misc]
    """An acceptor with such threads; `connection` makes the one of the connection."""

    def __init__(self, entity: Any, connection: Callable[[Any], Waiting]) -> None:
        super().__init__(entity, MODE_ACCEPTOR)
        self._reactor_checkpoint = Checkpoint()
        self.dul = connection(self)
        self.dul.to_provider_queue = Telling(self.dul.wake)
        self.dul.to_user_queue = Telling(self._reactor_checkpoint.tell)
        self.dimse.msg_queue = Telling(self._reactor_checkpoint.tell)
        # Their timers are the connection's.
        self.acse_timeout, self.network_timeout = entity.acse_timeout, entity.network_timeout

    def over(self) -> None:
        """The thread of the connection has ended."""
        self.dul.close()
        self._reactor_checkpoint.tell()

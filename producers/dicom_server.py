"""pynetdicom's listening sockets as this door needs them: shared port, TLS, bounded reads; no DIMSE here."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from adapters import telemetry
from producers.dicom_receiving import Receiving, Taking
from producers.dicom_waiting import WaitingAssociation
from schemas.errors import SettingsError

log = telemetry.logger("door.dicom")

READ_BYTES = 1 << 18
"""Most bytes that one system call reads. pynetdicom reads 4 KB at a time: 2,500 calls for 10 MB."""

AHEAD_BYTES = 1 << 14
"""Read ahead of what is asked for: heads and small objects in one system call."""

PDU_SLACK = 1 << 12
"""How much longer than the offered maximum a PDU may be: some senders count without its header."""

ASSOCIATE_BYTES = 1 << 20
"""Longest PDU of an association's negotiation: 128 contexts with 40 transfer syntaxes each have about 130 KB."""


class BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom ships no types
    """Reads in large pieces and a little ahead, and ends a connection that announces more than a PDU may have.

    The length field of a PDU says up to 4 GB, and pynetdicom collects as much before it looks at it. What reads raises
    OSError where the peer is gone or silent.
    """

    def __init__(self, association: Any, connection: socket.socket) -> None:
        super().__init__(association, client_socket=connection)
        self._buffer = bytearray(AHEAD_BYTES)
        self._at = self._end = 0

    @property
    def ahead(self) -> bool:
        """Whether there is something to read without waiting for the peer."""
        return self._end > self._at or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0)

    @property
    def ready(self) -> bool:
        """As pynetdicom's, of what was read ahead as well."""
        return self.ahead or bool(super().ready)

    def allow(self, length: int) -> None:
        """Raises OSError for a PDU that is longer than any may be."""
        if length > max(self.assoc.ae.maximum_pdu_size + PDU_SLACK, ASSOCIATE_BYTES):
            raise OSError("the PDU is longer than allowed")

    def peek(self, count: int) -> bytes:
        """The next `count` bytes (at most AHEAD_BYTES), which stay to be read; fewer when the peer is gone."""
        if self._at + count > len(self._buffer):
            self._buffer[: self._end - self._at] = self._buffer[self._at : self._end]
            self._at, self._end = 0, self._end - self._at
        with memoryview(self._buffer) as view:
            while self._end - self._at < count:
                found = self._read(view[self._end :])
                if not found:
                    break
                self._end += found
            return bytes(view[self._at : min(self._end, self._at + count)])

    def take(self, count: int) -> bytes:
        """The next `count` bytes, at most AHEAD_BYTES."""
        found = self.peek(count)
        if len(found) < count:
            raise OSError("the peer is gone")
        self._at += count
        return found

    def skip(self, count: int) -> None:
        """Reads over `count` bytes."""
        while count:
            count -= len(self.take(min(count, AHEAD_BYTES)))

    def fill(self, view: memoryview) -> None:
        """Reads as many bytes as the view has."""
        if self._filled(view) < len(view):
            raise OSError("the peer is gone")

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer when the peer is gone; raises OSError for more than is allowed."""
        self.allow(nr_bytes)
        whole = bytearray(nr_bytes)
        with memoryview(whole) as view:
            count = self._filled(view)
        del whole[count:]
        return whole

    def _filled(self, view: memoryview) -> int:
        """How many bytes there were for the view; less than it has only when the peer is gone."""
        done = min(len(view), self._end - self._at)
        view[:done] = self._buffer[self._at : self._at + done]
        self._at += done
        while done < len(view):
            count = self._read(view[done : done + READ_BYTES])
            if not count:
                break
            done += count
        return done

    def _read(self, view: memoryview) -> int:
        if self.socket is None:
            return 0
        _quick_ack(self.socket)
        return int(self.socket.recv_into(view))

    def _shutdown_socket(self) -> None:
        """Closes also where the peer is gone already, which pynetdicom leaves to the garbage collector."""
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                connection.close()


class _Request(RequestHandler):  # type: ignore[misc]
    """Makes associations whose threads wait, on sockets of ours."""

    def _create_association(self) -> Any:
        server, entity = self.server, self.server.ae
        association = WaitingAssociation(entity, partial(Receiving, taking=server.taking))
        association._server = server
        association.name = f"AcceptorThread@{association.name}"  # pynetdicom finds its associations by this name
        association.set_socket(BoundedSocket(association, self.request))
        ours, theirs = association.acceptor, association.requestor
        ours.ae_title, ours.maximum_length = server.ae_title, entity.maximum_pdu_size
        ours.implementation_class_uid = entity.implementation_class_uid
        ours.implementation_version_name = entity.implementation_version_name
        ours.supported_contexts = server.contexts  # only read: a copy each was a fifth of an association's work
        ours.address_info, theirs.address_info = self.local, self.remote
        for event, handlers in server._handlers.items():
            if event.is_intervention:
                association.bind(event, *handlers)
            else:
                for handler in handlers:
                    association.bind(event, *handler)
        association.dul._target = partial(_to_its_end, association, association.dul.run_reactor, server.over)
        return association


def _to_its_end(association: Any, run: Callable[[], None], over: Callable[[Any], None]) -> None:
    """Runs the reactor of a connection. A peer that breaks the protocol makes pynetdicom's state machine raise in its
    own thread, which would leave the connection open and the association without an end."""
    try:
        run()
    except Exception as error:
        log.info("an association broke the protocol", error=type(error).__name__)
        association.is_aborted, association.is_established = True, False
        association._kill = True  # kill() would wait for a state that the machine no longer reaches
    finally:
        if association.dul.socket is not None:
            association.dul.socket._shutdown_socket()
        association.over()
        over(association)


class Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Shares its port with the door's other processes, since one process is bound by its interpreter lock."""

    request_queue_size = 128
    taking: Taking
    """What takes the data sets of C-STORE."""

    over: Callable[[Any], None] = staticmethod(lambda association: None)
    """Called once the connection of an association is gone, however that came about."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "request_handler": _Request})

    def server_bind(self) -> None:
        """Binds with SO_REUSEPORT."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[Any, Any]:
        """Accepts without a handshake: one that never comes would hold up everybody else's."""
        connection, address = self.socket.accept()
        connection.settimeout(self.ae.acse_timeout)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own only what may take long: a handshake."""
        if isinstance(request, ssl.SSLSocket):
            super().process_request(request, client_address)
        else:
            self.process_request_thread(request, client_address)

    def service_actions(self) -> None:
        """Nothing: pynetdicom has every 60th association collect all garbage, 0.7 ms of processor time for each."""

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake, if there is one; then as pynetdicom does it."""
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            request.settimeout(self.ae.network_timeout)
        except OSError:
            with contextlib.suppress(OSError):
                request.close()
            return
        super().process_request_thread(request, client_address)


def tls_context(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """TLS of the BCP 195 profile (PS3.15 B.9): 1.2 or newer; with `authority` senders must show a certificate of it.

    Raises SettingsError when a file cannot be used; the message names no content.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(certificate), str(key))
        if authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"The certificate of the DICOM door cannot be used ({type(error).__name__}).") from error
    return context


def _quick_ack(connection: socket.socket) -> None:
    """Acknowledges TCP segments at once; Linux forgets TCP_QUICKACK at every answer, so it is set before each read.

    DCMTK writes the head of a PDU and its content one after the other, and with Nagle's algorithm the second waits for
    the acknowledgement of the first: 44 ms an object where it is delayed.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):  # the peer may be gone already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

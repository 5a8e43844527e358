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
from schemas.errors import SettingsError

log = telemetry.logger("door.dicom")

READ_BYTES = 1 << 18
"""Most bytes that one system call reads. pynetdicom reads 4 KB at a time: 2,500 calls for 10 MB."""

PDU_SLACK = 1 << 12
"""How much longer than the offered maximum a PDU may be: some senders count without its header."""

ASSOCIATE_BYTES = 1 << 20
"""Longest PDU of an association's negotiation: 128 contexts with 40 transfer syntaxes each have about 130 KB."""


class BoundedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom ships no types
    """Reads in large pieces, and ends a connection that announces more than a PDU may have.

    The length field of a PDU says up to 4 GB, and pynetdicom collects as much before it looks at it.
    """

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer when the peer is gone; raises OSError for more than is allowed."""
        if nr_bytes > max(self.assoc.ae.maximum_pdu_size + PDU_SLACK, ASSOCIATE_BYTES):
            raise OSError("the PDU is longer than allowed")
        whole = bytearray(nr_bytes)
        view, read = memoryview(whole), 0
        while read < nr_bytes:
            _quick_ack(self.socket)
            count = self.socket.recv_into(view[read : read + READ_BYTES])
            if not count:
                break
            read += count
        view.release()
        if read < nr_bytes:
            del whole[read:]
        return whole

    def _shutdown_socket(self) -> None:
        """Closes also where the peer is gone already, which pynetdicom leaves to the garbage collector."""
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                connection.close()


class _Request(RequestHandler):  # type: ignore[misc]
    """Makes associations on sockets of ours."""

    def _create_association(self) -> Any:
        association = super()._create_association()
        # The first socket object announced the connection already; one announcement is enough.
        association.dul.socket = BoundedSocket(association, client_socket=self.request)
        association.dul.event_queue.get_nowait()
        reactor = association.dul
        reactor._target = partial(_to_its_end, association, reactor.run_reactor, self.server.over)
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
        over(association)


class Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Shares its port with the door's other processes, since one process is bound by its interpreter lock."""

    request_queue_size = 128
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

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake, in the connection's own thread; then as pynetdicom does it."""
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

"""Results leave for a DICOM node over TLS, checked on both sides; the node is pynetdicom's, in this process (CC20)."""

import gc
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from adapters.receivers import Parcel, open_receiver
from adapters.settings import Destination
from schemas.errors import ReceiverAway
from tests.support import dicom_pki
from tests.support.dicom_objects import CT, EXPLICIT, data_set
from tests.support.dicom_pki import Pki

# pynetdicom forgets to close the socket of a connection that was refused.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Node:
    """A storage SCP that wants a certificate of the authority from whoever calls."""

    pki: Pki
    port: int = 0
    kept: list[Dataset] = field(default_factory=list)

    def destination(self, **changes: Any) -> Destination:
        """As the settings name it."""
        values: dict[str, Any] = {
            "port": self.port,
            "confirm": False,
            "tls": True,
            "tls_ca": self.pki.authority,
            "tls_certificate": self.pki.sender,
            "tls_key": self.pki.sender_key,
        }
        return Destination(**{**values, **changes})


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    pki = dicom_pki.make(tmp_path_factory.mktemp("pki"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(pki.door), str(pki.door_key))
    made = Node(pki)

    def keep(event: Any) -> int:
        made.kept.append(event.dataset)
        return 0x0000

    entity = AE("NODE")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CT, EXPLICIT)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    made.port = server.socket.getsockname()[1]
    yield made
    server.shutdown()


def parcel() -> Parcel:
    """One little object."""
    made = data_set()
    made.file_meta = Dataset()
    made.file_meta.TransferSyntaxUID = EXPLICIT
    return Parcel(str(made.StudyInstanceUID), (made,), {})


def test_an_object_arrives_as_it_was_and_the_node_answers_an_echo(node: Node) -> None:
    receiver = open_receiver(node.destination())
    receiver.probe()
    receipt = receiver.deliver(parcel())
    (kept,) = node.kept
    assert receipt.ids == (str(kept.SOPInstanceUID),)
    assert kept.PixelData == data_set().PixelData


def test_who_is_not_trusted_or_speaks_plainly_gets_and_gives_nothing(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is tried again later, since each may be mended on either side."""
    # What it logs holds the sockets that it forgets.
    monkeypatch.setattr(logging.getLogger("pynetdicom.transport"), "disabled", True)
    before = len(node.kept)
    other = dicom_pki.make(tmp_path)
    (tmp_path / "broken.pem").write_text("no certificate")
    wrong: list[tuple[dict[str, Any], str | None]] = [
        ({"tls_ca": other.authority}, "TLS fails"),
        ({"tls_ca": None}, "TLS fails"),
        ({"tls_certificate": other.sender, "tls_key": other.sender_key}, None),
        ({"tls_certificate": None, "tls_key": None}, None),
        ({"tls": False, "tls_ca": None, "tls_certificate": None, "tls_key": None}, None),
        ({"tls_ca": tmp_path / "missing.pem"}, "FileNotFoundError"),
        ({"tls_ca": tmp_path / "broken.pem"}, "SSLError"),
    ]
    for changes, said in wrong:
        with pytest.raises(ReceiverAway, match=said):
            open_receiver(node.destination(**changes)).deliver(parcel())
    assert len(node.kept) == before
    gc.collect()  # here, where a socket that pynetdicom forgets is expected, and not in another test


def test_settings_that_would_not_protect_what_they_seem_to_are_refused(node: Node) -> None:
    for changes in (
        {"tls": False},
        {"tls_key": None},
        {"kind": "fhir", "url": "https://fhir.example/r4"},
    ):
        with pytest.raises(ValidationError):
            node.destination(**changes)

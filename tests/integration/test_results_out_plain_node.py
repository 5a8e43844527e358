"""Results to a DICOM node that answers no queries, and to one that is away (CC20)."""

import subprocess
import time
from pathlib import Path

import pytest

from adapters import dicom_reading
from adapters.receivers import open_receiver
from adapters.settings import Destination
from clinstream import leaving
from schemas.errors import ReceiverAway
from schemas.events import Region
from tests.support import results_out
from tests.support.results_out import SECONDS, chest, chest_result


# pynetdicom forgets to close the socket of a connection that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_without_queries_is_sent_to_and_believed_and_one_that_is_gone_is_told_from_it(tmp_path: Path) -> None:
    """CC20: DCMTK's storescp keeps what it gets; its files are ours, byte for byte in what they say."""
    from consumers.exporting import account, package

    port = results_out.free_port()
    there = Destination(host="127.0.0.1", port=port, ae_title="ANY")
    node = open_receiver(there)
    with pytest.raises(ReceiverAway):
        node.probe()
    assert leaving.probe(there) == "it does not answer"
    process = subprocess.Popen([results_out.program("storescp"), "-od", str(tmp_path), str(port)])
    try:
        end = time.monotonic() + SECONDS
        while leaving.probe(there):
            assert time.monotonic() < end
            time.sleep(0.1)
        region = Region(score=0.5, outline=((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)))
        told = account.of_result(chest_result(9, regions=(region,)), None)
        parcel = package.told(told, chest(9), presentation_state=True)
        receipt = node.deliver(parcel)
        assert (receipt.confirmed, receipt.note) == (False, "it takes no queries")
    finally:
        process.terminate()
        process.wait(SECONDS)
    kept = [dicom_reading.open_dicom(path.read_bytes()).dataset for path in tmp_path.iterdir()]
    assert {str(each.SOPInstanceUID) for each in kept} == set(receipt.ids)
    assert sorted(each.Modality for each in kept) == ["OT", "PR", "SR"]
    assert {str(each.PatientName) for each in kept} == {"Doe^Jane"}
    assert {str(each.IssuerOfPatientID) for each in kept} == {"HOSPITAL"}

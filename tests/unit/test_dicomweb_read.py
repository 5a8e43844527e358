"""QIDO-RS and WADO-RS on fakes: what is asked for, how it is told, what goes out byte for byte (CC28)."""

import io
from collections.abc import AsyncIterator

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate

from adapters.database.instances import Found, Located, Match
from adapters.dicom_encoded_frames import encoded_frames
from adapters.dicom_header import index
from adapters.pixels import blob_uri
from producers.dicomweb_access import Access
from schemas import ids
from schemas.errors import Unprocessable
from tests.support.dicom_objects import EXPLICIT, IMPLICIT, data_set, part_10
from tests.support.dicomweb import Web, web

STUDY, SERIES, UID = (f"1.2.826.0.1.3680043.8.498.{last}" for last in (2, 3, 1))
PLACE = f"/studies/{STUDY}/series/{SERIES}/instances/{UID}"


@pytest.fixture
async def viewer() -> AsyncIterator[Web]:
    """A viewer."""
    async with web() as found:
        yield found


def keep(viewer: Web, file: bytes, syntax: str = EXPLICIT, uid: str = UID) -> None:
    """One stored object."""
    uri = blob_uri("pixels", ids.sha256_hex(file))
    viewer.blobs.objects[uri] = file
    viewer.known.located.append(Located(STUDY, SERIES, uid, syntax, uri, len(file)))


def row(**changes: object) -> Found:
    indexed = index(part_10(data_set(**changes)), whole=True)
    assert indexed
    return Found(indexed.attributes, ("CT", "SR"), 2, 7, EXPLICIT)


async def test_a_search_for_studies_passes_on_its_keys_and_tells_what_was_counted(viewer: Web) -> None:
    viewer.known.found = [row(StudyDate="20260102")]
    answer = await viewer.client.get(
        "/studies",
        params={
            "PatientName": "Doe*",
            "00100020": "4711",
            "StudyDate": "20260101-",
            "ModalitiesInStudy": "CT",
            "AccessionNumber": "*",
            "limit": "5",
            "offset": "10",
        },
    )
    assert viewer.known.asked == [
        (
            "studies",
            (
                Match("patient_name", "wildcard", ("Doe*",)),
                Match("patient_id", "exact", ("4711",)),
                Match("study_date", "range", ("20260101", "")),
                Match("modality", "exact", ("CT",)),
            ),
            5,
            10,
        )
    ]
    (found,) = answer.json()
    read = Dataset.from_json(found)
    assert (read.StudyInstanceUID, str(read.PatientName), read.PatientID) == (STUDY, "Doe^Jane", "4711")
    assert list(read.ModalitiesInStudy) == ["CT", "SR"]
    assert (read.NumberOfStudyRelatedSeries, read.NumberOfStudyRelatedInstances) == (2, 7)
    assert read.RetrieveURL == f"http://127.0.0.1:8080/studies/{STUDY}"
    assert "warning" not in answer.headers


async def test_series_and_objects_are_searched_within_their_place(viewer: Web) -> None:
    viewer.known.found = [row()]
    (series,) = (await viewer.client.get(f"/studies/{STUDY}/series?Modality=CT")).json()
    (instance,) = (await viewer.client.get(f"/studies/{STUDY}/series/{SERIES}/instances")).json()
    place = (Match("study_instance_uid", "exact", (STUDY,)),)
    assert viewer.known.asked[0][:2] == ("series", (*place, Match("modality", "exact", ("CT",))))
    assert viewer.known.asked[1][:2] == ("instances", (*place, Match("series_instance_uid", "exact", (SERIES,))))
    assert Dataset.from_json(series).NumberOfSeriesRelatedInstances == 7
    read = Dataset.from_json(instance)
    assert (read.SOPInstanceUID, read.Rows, read.AvailableTransferSyntaxUID) == (UID, 8, EXPLICIT)
    assert str(read.RetrieveURL).endswith(PLACE)


async def test_keys_that_nobody_searches_by_are_ignored_aloud_and_malformed_ones_refused(viewer: Web) -> None:
    answer = await viewer.client.get("/studies?StationName=X&fuzzymatching=true")
    assert answer.status_code == 204
    assert "ignored" in answer.headers["warning"]
    assert "fuzzymatching" in answer.headers["warning"]
    for wrong in ("limit=x", "offset=-1", "StudyDate=2026"):
        assert (await viewer.client.get(f"/studies?{wrong}")).status_code == 400


async def test_objects_go_out_as_they_are_stored(viewer: Web) -> None:
    files = [part_10(data_set()), part_10(data_set(SOPInstanceUID="1.2.9"), IMPLICIT)]
    keep(viewer, files[0])
    keep(viewer, files[1], IMPLICIT, "1.2.9")
    answer = await viewer.client.get(f"/studies/{STUDY}")
    assert answer.status_code == 200
    boundary = answer.headers["content-type"].rpartition("boundary=")[2].encode()
    parts = answer.content.split(b"--" + boundary)
    assert [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]] == files
    assert parts[-1] == b"--\r\n"


async def test_another_transfer_syntax_than_the_stored_one_is_not_acceptable(viewer: Web) -> None:
    keep(viewer, part_10(data_set()))
    accept = 'multipart/related; type="application/dicom"; transfer-syntax='
    assert (await viewer.client.get(PLACE, headers={"accept": accept + "*"})).status_code == 200
    assert (await viewer.client.get(PLACE, headers={"accept": accept + EXPLICIT})).status_code == 200
    assert (await viewer.client.get(PLACE, headers={"accept": accept + IMPLICIT})).status_code == 406
    assert (await viewer.client.get(PLACE, headers={"accept": "text/html"})).status_code == 406


async def test_metadata_has_the_header_and_no_pixels(viewer: Web) -> None:
    keep(viewer, part_10(data_set()))
    (found,) = (await viewer.client.get(f"{PLACE}/metadata")).json()
    read = Dataset.from_json(found)
    assert (read.Rows, read.Columns, str(read.PatientName)) == (8, 8, "Doe^Jane")
    assert "PixelData" not in read


@pytest.mark.parametrize(("accept", "form"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("*/*", "JPEG")])
async def test_a_rendered_object_is_the_picture_that_a_person_would_see(viewer: Web, accept: str, form: str) -> None:
    greys = np.tile(np.arange(8, dtype=np.uint8) * 32, (8, 1))
    keep(viewer, part_10(data_set(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=greys.tobytes())))
    answer = await viewer.client.get(f"{PLACE}/rendered", headers={"accept": accept})
    assert answer.status_code == 200
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == form
        assert np.abs(np.asarray(picture.convert("L")).astype(int) - greys).max() <= (0 if form == "PNG" else 12)


async def test_frames_come_as_they_are_encoded_and_one_that_is_not_there_is_not_found(viewer: Web) -> None:
    pixels = bytes(range(64)) + bytes(range(64, 128)) + bytes(range(128, 192))
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "NumberOfFrames": 3}
    keep(viewer, part_10(data_set(**eight, PixelData=pixels)))
    octets = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    answer = await viewer.client.get(f"{PLACE}/frames/3,1", headers={"accept": octets})
    boundary = answer.headers["content-type"].rpartition("boundary=")[2].encode()
    parts = [part.partition(b"\r\n\r\n") for part in answer.content.split(b"--" + boundary)[1:-1]]
    assert [part[2] for part in parts] == [pixels[128:192] + b"\r\n", pixels[:64] + b"\r\n"]
    assert f"transfer-syntax={EXPLICIT}".encode() in parts[0][0]
    for asked, status in (("4", 404), ("0", 404), ("x", 400), ("1,", 400)):
        assert (await viewer.client.get(f"{PLACE}/frames/{asked}")).status_code == status
    assert (await viewer.client.get(f"{PLACE}/frames/1", headers={"accept": "image/jpeg"})).status_code == 406


def test_a_compressed_frame_is_given_out_as_it_lies_in_the_object() -> None:
    streams = [b"\xff\xd8one!\xff\xd9", b"\xff\xd8second\xff\xd9"]
    found = data_set(NumberOfFrames=2)
    found.add_new(0x7FE00010, "OB", encapsulate(streams))
    found["PixelData"].is_undefined_length = True
    assert encoded_frames(part_10(found, "1.2.840.10008.1.2.4.50"), [2, 1]) == ("1.2.840.10008.1.2.4.50", streams[::-1])
    with pytest.raises(Unprocessable):
        encoded_frames(part_10(data_set(Rows=9)), [1])


async def test_what_is_not_there_is_not_found_and_what_has_no_picture_not_acceptable(viewer: Web) -> None:
    assert (await viewer.client.get(PLACE)).status_code == 404
    keep(viewer, part_10(data_set(Rows=None)))
    assert (await viewer.client.get(f"{PLACE}/rendered")).status_code == 406
    assert (await viewer.client.get(f"{PLACE}/frames/2/rendered")).status_code == 404


async def test_closed_retrieval_shows_nothing_while_storing_goes_on() -> None:
    async with web(Access(retrieval=False)) as found:
        assert (await found.client.get("/studies")).status_code == 404
        assert (await found.client.get(f"{PLACE}/rendered")).status_code == 404
        assert (await found.store(part_10(data_set()))).status_code == 200

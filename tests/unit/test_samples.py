"""The packaged samples: small, readable, attributed, and without the outcome that a model is to predict."""

import csv

from adapters.dicom_reading import decode_dicom
from clinstream import samples
from clinstream.sending import objects
from clinstream.sending.objects import StorageObject
from clinstream.sending.wrap import Wrapping

MOST_BYTES = 3_000_000


def test_the_pack_is_small_enough_to_ship() -> None:
    assert 0 < samples.size_bytes() <= MOST_BYTES


def test_every_image_can_be_sent_and_decoded() -> None:
    found = [objects.load(path, Wrapping()) for path in objects.files([samples.IMAGES])]
    assert len(found) == 15
    assert all(isinstance(item, StorageObject) for item in found), found
    for path in samples.IMAGES.glob("*.dcm"):
        assert decode_dicom(path.read_bytes()).stored.size > 10_000
    syntaxes = {item.transfer_syntax_uid for item in found if isinstance(item, StorageObject)}
    assert len(syntaxes) >= 4, "several transfer syntaxes, as a hospital sends them"


def test_one_image_is_there_twice_as_two_senders_would_send_it() -> None:
    first, again = (objects.load(samples.IMAGES / f"chest-01-normal{end}.dcm", Wrapping()) for end in ("", "_again"))
    assert isinstance(first, StorageObject)
    assert isinstance(again, StorageObject)
    assert first.sop_instance_uid == again.sop_instance_uid
    assert first.data != again.data


def test_the_stays_come_without_their_outcome() -> None:
    with (samples.VITALS / "stays.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 57
    assert len(rows[0]) == 62 + 2
    assert not any("death" in name.lower() for name in rows[0])


def test_every_image_is_attributed() -> None:
    text = (samples.PACK / "ATTRIBUTION.md").read_text()
    for licence in ("CC BY 4.0", "CC0", "ODC-By"):
        assert licence in text
    for path in samples.IMAGES.iterdir():
        assert path.name in text

"""The packaged samples: small, readable, attributed, and without the outcome that a model is to predict."""

import csv
import itertools
import json
from datetime import datetime

from adapters.dicom_reading import decode_dicom
from clinstream import samples
from clinstream.sending import objects
from clinstream.sending.objects import StorageObject
from clinstream.sending.wrap import Wrapping
from triton_models import tables
from triton_models.icu_mortality import table
from triton_models.icu_mortality.preprocess import FEATURES, prepare

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


def test_the_readings_are_eight_hours_without_a_gap() -> None:
    """A forecast needs a whole window; a gap would make the demonstration a refusal."""
    for path in sorted(samples.CGM.glob("*.csv")):
        with path.open(newline="") as file:
            times = [datetime.fromisoformat(row["timestamp"]) for row in csv.DictReader(file)]
        steps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
        assert len(times) == 96
        assert max(steps) < 330


def test_every_photograph_of_an_ear_tells_its_side() -> None:
    assert {path.stem.rpartition("_")[2] for path in samples.OTOSCOPE.iterdir()} == {"left", "right"}


def test_the_stays_that_are_sent_are_not_among_those_to_train_and_judge_by() -> None:
    """CC31: a correction of a sent stay can never meet itself in the frozen hold-out."""
    divided = table.divide(samples.ICU_TRAINING)
    assert [len(divided.rows[part]) for part in ("train", "validation", "test")] == [2762, 589, 589]
    known = {row.tobytes() for rows in divided.rows.values() for row in rows}
    assert len(known) == 2762 + 589 + 589, "no stay is in two parts"
    with (samples.VITALS / "stays.csv").open(newline="") as file:
        sent = {record["recordid"]: record for record in csv.DictReader(file)}
    sent |= {item["stay"]: item["features"] for item in json.loads((samples.VITALS / "monitor.json").read_text())}
    rows = [prepare({name: tables.number(name, str(item[name] or "")) for name in FEATURES}) for item in sent.values()]
    assert not any(row.tobytes() in known for row in rows)
    with samples.VITALS_OUTCOMES.open(newline="") as file:
        outcomes = {record["recordid"]: record[table.TARGET] for record in csv.DictReader(file)}
    assert outcomes.keys() == sent.keys()
    assert set(outcomes.values()) == {"0", "1"}


def test_every_image_is_attributed() -> None:
    text = (samples.PACK / "ATTRIBUTION.md").read_text()
    for licence in ("CC BY 4.0", "CC0", "ODC-By"):
        assert licence in text
    for path in (*samples.IMAGES.iterdir(), *samples.OTOSCOPE.iterdir(), *samples.CGM.iterdir()):
        assert path.name in text

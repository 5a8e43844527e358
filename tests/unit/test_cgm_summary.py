"""Glycaemic metrics as the CGM guide's summary: valid FHIR, with its profiles and codes, an id for each revision."""

from dataclasses import replace
from datetime import date

from fhir.resources.R4B.bundle import Bundle

from adapters.database import MetricsRow, PlainReading
from consumers import cgm_summary, glycaemia

DAY = date(2026, 4, 1)
START = glycaemia.start_ms(DAY)
FIGURES = glycaemia.batch([PlainReading(START + n * 300_000, 60.0 + n) for n in range(200)])[DAY, 7]
ROW = MetricsRow(("sub-1", False), DAY, 7, FIGURES, 2)


def test_a_window_is_a_panel_of_six_with_the_guides_profiles_and_codes() -> None:
    """GL16: validated, and every member is found by its reference."""
    made = cgm_summary.bundle([ROW])
    Bundle.model_validate(made)
    panel, *members = [entry["resource"] for entry in made["entry"]]
    assert panel["code"]["coding"][0]["code"] == "107931-8"
    assert [each["reference"] for each in panel["hasMember"]] == [entry["fullUrl"] for entry in made["entry"][1:]]
    assert len(members) == 6
    assert {each["meta"]["profile"][0].rpartition("/")[2] for each in members} == {
        "cgm-summary-mean-glucose-mass-per-volume",
        "cgm-summary-gmi",
        "cgm-summary-coefficient-of-variation",
        "cgm-summary-days-of-wear",
        "cgm-summary-sensor-active-percentage",
        "cgm-summary-times-in-ranges",
    }
    assert panel["effectivePeriod"] == {
        "start": "2026-03-26T00:00:00+00:00",
        "end": "2026-04-01T23:59:59.999+00:00",
    }
    shares = [part["valueQuantity"]["value"] for part in members[-1]["component"]]
    assert shares == [FIGURES.percent.very_low, FIGURES.percent.low, FIGURES.percent.target, *shares[3:]]
    assert round(sum(shares), 1) == 100.0
    assert {each["status"] for each in members} == {"amended"}


def test_another_revision_is_another_resource_and_a_window_without_readings_none() -> None:
    first, second = cgm_summary.observations(replace(ROW, revision=1)), cgm_summary.observations(ROW)
    assert not {each["id"] for each in first} & {each["id"] for each in second}
    empty = replace(ROW, figures=glycaemia.figures(DAY, 7, {}))
    assert "entry" not in cgm_summary.bundle([empty])

"""What is measured on radiographs for research, with ranges where they exist; nothing may follow from it.

How it is measured is in `cardiothoracic` and `cortex`. Off unless the setting `research_measurements` is on.
"""

from collections.abc import Callable
from typing import Final

from adapters import cardiothoracic, cortex
from adapters.imaging import Grey8, ImageHeader
from adapters.measuring import NotMeasured
from schemas.card import Shows
from schemas.events import ReferenceRange, ResearchMeasurement

NOTICE: Final = "Research only: not validated, not for diagnosis."
ADULT_YEARS: Final = 18.0
INFANT_YEARS: Final = 1.0
ADULTS: Final = ReferenceRange(
    high=0.50, group="adults (18 years and older), PA", source="convention since Danzer 1919, Am J Med Sci 157"
)
INFANTS: Final = ReferenceRange(
    high=0.60, group="infants (under 1 year)", source="convention of paediatric radiology; limits in use differ"
)


def measured(shows: Shows, shown: Grey8, header: ImageHeader) -> tuple[ResearchMeasurement, ...]:
    """What there is to measure on pictures of this kind, in display greys; empty for the others."""
    if shows == "chest":
        method, version = cardiothoracic.METHOD, cardiothoracic.VERSION
        usual = reference(header)
        return (_one("cardiothoracic_ratio", cardiothoracic.cardiothoracic_ratio, shown, method, version, usual),)
    if shows == "limb":
        return (_one("cortical_ratio", cortex.cortical_ratio, shown, cortex.METHOD, cortex.VERSION, None),)
    return ()


def reference(header: ImageHeader) -> ReferenceRange | None:
    """The usual cardiothoracic ratios at the age in the header; None where it is unknown or no convention exists.

    An adult's needs the PA view, because AP shows the heart larger. None depends on sex, which conventions leave out.
    """
    age = header.patient_age_years
    if age is None:
        return None
    if age >= ADULT_YEARS:
        return ADULTS if header.view_position == "PA" else None
    return INFANTS if age < INFANT_YEARS else None


def _one(
    name: str,
    measure: Callable[[Grey8], float],
    shown: Grey8,
    method: str,
    version: str,
    usual: ReferenceRange | None,
) -> ResearchMeasurement:
    value, reason = None, ""
    try:
        value = measure(shown)
    except NotMeasured as why:
        reason = str(why)
    except Exception as error:  # whatever is wrong with a measurement, the image still gets its answer
        reason = f"the measurement failed ({type(error).__name__})"
    return ResearchMeasurement(
        name=name,
        value=value,
        unit="1",
        method=method,
        method_version=version,
        notice=NOTICE,
        reason=reason,
        range=usual if value is not None else None,
    )

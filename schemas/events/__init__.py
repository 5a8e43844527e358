"""The events of clinstream as typed records; how they travel is in `envelope`, where they travel in `topics`.

Events carry pseudonymous ids only. Unknown fields are ignored when reading: schemas change by addition.
Times are seconds since the epoch (UTC) as floats in `hops`, and RFC 3339 strings with a zone elsewhere.
"""

from schemas.events.answers import (
    Answer,
    ForecastPoint,
    Heat,
    ImagePrepared,
    ReferenceRange,
    Region,
    ResearchMeasurement,
)
from schemas.events.base import Base, BlobRef, Origin, Priority, TensorRef
from schemas.events.glycaemia import GLUCOSE_NOTICE, GlucoseMetricsRevised, GlycaemicFigures, TimesInRanges
from schemas.events.learning import ReleaseChanged, RetrainRequested
from schemas.events.observations import Bound, GlucoseObserved, GlucoseUnit, ImageObserved, Laterality, VitalsObserved
from schemas.events.results import (
    Fate,
    OutcomeDecided,
    ResultAmended,
    ResultAssessed,
    ResultPublished,
    ResultWithdrawn,
    Verdict,
)

EVENTS: tuple[type[Base], ...] = (
    ImageObserved,
    VitalsObserved,
    GlucoseObserved,
    ImagePrepared,
    Answer,
    ResultPublished,
    ResultAmended,
    ResultWithdrawn,
    ResultAssessed,
    RetrainRequested,
    OutcomeDecided,
    ReleaseChanged,
    GlucoseMetricsRevised,
)

__all__ = [
    "EVENTS",
    "GLUCOSE_NOTICE",
    "Answer",
    "Base",
    "BlobRef",
    "Bound",
    "Fate",
    "ForecastPoint",
    "GlucoseMetricsRevised",
    "GlucoseObserved",
    "GlucoseUnit",
    "GlycaemicFigures",
    "Heat",
    "ImageObserved",
    "ImagePrepared",
    "Laterality",
    "Origin",
    "OutcomeDecided",
    "Priority",
    "ReferenceRange",
    "Region",
    "ReleaseChanged",
    "ResearchMeasurement",
    "ResultAmended",
    "ResultAssessed",
    "ResultPublished",
    "ResultWithdrawn",
    "RetrainRequested",
    "TensorRef",
    "TimesInRanges",
    "Verdict",
    "VitalsObserved",
]

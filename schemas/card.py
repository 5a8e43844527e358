"""The model card: what a model takes, gives, is for and may not be used for; no weights and no code that runs one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

DType = Literal["uint8", "uint16", "int32", "int64", "float16", "float32"]
EventKind = Literal["image", "glucose", "vitals"]
Pixels = Literal["grey", "colour"]
Shows = Literal["", "radiograph", "limb", "chest"]
StudyRule = Literal["highest"]

NOTICE = "Research use only. Information for a clinician, who must review it; not a diagnosis."


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a served model, without the batch dimension.

    `shape` counts elements an axis (-1: variable), `unit` names what an element means ("stored value 0-255",
    "probability", "mg/dL"). `optional` marks an output that weights may lack which were trained before it was there.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    unit: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A decision threshold with what was measured at it, each figure as (value, low, high) of a 95 % interval.

    The threshold was chosen on validation data only; `measured_on` names the data set of the figures.
    """

    threshold: float
    sensitivity: tuple[float, float, float]
    specificity: tuple[float, float, float]
    measured_on: str


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """Where the model may be applied, in executable form: an empty collection or None does not restrict.

    `modalities` and `body_parts` use DICOM Defined Terms (PS3.3 C.7.3.1.1.1, PS3.16 CID 4031); `views` those of
    View Position (0018,5101); ages are in years, inclusive; `minimum_matrix` is (rows, columns) in pixels.
    An absent body part does not restrict either, unless it has to be stated (`body_part_stated`).
    `sop_classes` are the storage classes (PS3.4 B.5) of DICOM objects; a picture from an upload door has none.
    Where `age_years` is set and the age is not known, the answer abstains. `shows` is what the pixels must look like,
    whatever the header says: `radiograph` asks for an X-ray of any part that is exposed well enough, `limb` for one
    that is no chest as well, `chest` for an upright frontal chest, whole; empty asks for nothing.
    """

    statement: str
    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    body_part_stated: bool = False
    views: frozenset[str] = frozenset()
    age_years: tuple[float, float] | None = None
    minimum_matrix: tuple[int, int] | None = None
    sop_classes: frozenset[str] = frozenset()
    shows: Shows = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """How Triton serves the model: sizes in rows, delays in microseconds, `warm_up_rows` of zeros at load."""

    max_batch_size: int
    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_us: int
    max_queue_size: int
    instances_cpu: int = 1
    threads_cpu: int = 1
    stat_instance: bool = False
    warm_up_rows: int = 1


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A second task for the same object, asked only where the visible result of the first carries `when_label`.

    The follow-up's own card is never routed by its intended use alone; where the condition does not hold the event
    ends for it as `not_applicable`.
    """

    task: str
    when_label: str


@dataclass(frozen=True, slots=True)
class Gate:
    """What a candidate must reach on the frozen hold-out before it may be released."""

    metric: str
    floor: float
    margin_over_serving: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything that the rest of the system needs to know of one model.

    `name` is the task and the folder under `triton_models/`; `version` is semantic (MAJOR schema, MINOR retrain,
    PATCH fix). `train` is the dotted path of the training function, `judge` that of the one that measures weights on
    frozen rows (empty: no candidate can be gated). Probabilities come out in the order of `labels`. Scores inside
    `abstention_band` (inclusive, same scale as the threshold) are answered as abstained; for a task of several classes
    the band is on the probability of the likeliest label. `operating_point` is None where no single threshold decides
    (several classes, forecasts); `positive_label` is then empty. `pixels` says what `prepare` is given of an image:
    (rows, columns) of grey or (rows, columns, 3) of sRGB, both uint8. `horizons_minutes` are the times ahead that a
    forecast speaks of. `synonyms` says which of `labels` a label of reference data means ("": the question is not put
    to such a case), for evaluation. `study_rule` says which of several images decides for their study: `highest`, the
    most probable one above the threshold; where there is none, one on which the model abstains; else nothing is found.
    """

    name: str
    version: str
    preprocessing_version: str
    title: str
    consumes: EventKind
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    labels: Sequence[str]
    positive_label: str
    operating_point: OperatingPoint | None
    abstention_band: tuple[float, float]
    intended_use: IntendedUse
    limits: Sequence[str]
    train: str
    weights: str
    serving: Serving
    gate: Gate
    retrain_after: int
    judge: str = ""
    approval: Literal["person", "automatic"] = "person"
    pixels: Pixels = "grey"
    follow_up: FollowUp | None = None
    horizons_minutes: tuple[int, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    study_rule: StudyRule = "highest"
    use_status: str = "research use only"
    notice: str = NOTICE
    licences: Mapping[str, str] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """The operating point's threshold; 0 where the task has none."""
        return self.operating_point.threshold if self.operating_point else 0.0

"""The card of `glucose`: what it takes and gives, what it is for and its limits; the figures are in MODEL.md."""

from schemas.card import Gate, IntendedUse, ModelCard, Serving, TensorSpec
from triton_models.glucose.preprocess import PREPROCESSING_VERSION, WIDTH

HORIZONS_MINUTES = (15, 30, 45, 60, 75, 90, 105, 120)
COVERAGE = 0.9

CARD = ModelCard(
    name="glucose",
    version="2.0.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Glucose of the next two hours from the last three hours of a continuous monitor",
    consumes="glucose",
    inputs=(
        TensorSpec(
            "glucose",
            "float32",
            (WIDTH,),
            "mg/dL at 0, 5, ... 175 min before the newest, NaN in a gap; then the wearer's vector, zeros without one",
        ),
    ),
    outputs=(TensorSpec("forecast", "float32", (len(HORIZONS_MINUTES), 3), "mg/dL: low, expected, high by horizon"),),
    labels=("forecast", "stale"),
    positive_label="",
    operating_point=None,
    abstention_band=(0.0, 0.0),
    intended_use=IntendedUse(
        statement=(
            "Wearers of a continuous glucose monitor: information on where glucose may go in the next two hours, for "
            "research. Not for a diagnosis, a dose of insulin or food, an alarm, or deciding who is seen first."
        ),
    ),
    limits=(
        "Sees glucose only: no meals, insulin, exercise, sleep or time of day; a meal or dose that was just taken is "
        "not in the forecast.",
        "Learnt on 72 people of six studies, most of them with type 1 diabetes; other sensors, children, pregnancy and "
        "intensive care have not been measured apart.",
        "The interval should hold nine of ten; measured: 0.90 over all, 0.88 below 70 mg/dL, 0.87 to 0.95 by study.",
        "Needs 3 readings over 10 minutes or more within the last hour; forecasts across gaps were not measured apart.",
        "One network for all; a wearer's own vector of 20 numbers bends it where that lowered the wearer's error.",
    ),
    train="triton_models.glucose.train.train",
    weights="glucose.onnx",
    serving=Serving(
        max_batch_size=256,
        preferred_batch_sizes=(64, 256),
        max_queue_delay_us=2000,
        max_queue_size=4096,
        instances_cpu=1,
        threads_cpu=1,
        stat_instance=False,
        warm_up_rows=1,
    ),
    gate=Gate(metric="skill_30", floor=0.15),
    retrain_after=100,
    horizons_minutes=HORIZONS_MINUTES,
    notice="Informational only, not medical advice. Research use only; never for a diagnosis, a dose or triage.",
    licences={
        "training data": "AZT1D, Bris-T1D Open, HUPA-UCM, T1D-UOM: CC BY 4.0; PhysioCGM: CC0; BIG IDEAs: ODC-By 1.0"
    },
)

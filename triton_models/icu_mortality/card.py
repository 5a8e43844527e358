"""The card of `icu_mortality`: what it takes and gives, the figures measured for it, what it is for and its limits."""

from schemas.card import Gate, IntendedUse, ModelCard, OperatingPoint, Serving, TensorSpec
from triton_models.icu_mortality.preprocess import FEATURES, PREPROCESSING_VERSION

CARD = ModelCard(
    name="icu_mortality",
    version="1.2.0",
    preprocessing_version=PREPROCESSING_VERSION,
    title="Risk of death in hospital from the first 48 hours of intensive care",
    consumes="vitals",
    inputs=(TensorSpec("features", "float32", (len(FEATURES),), "as measured, NaN where missing; order of FEATURES"),),
    outputs=(TensorSpec("probability", "float32", (2,), "calibrated probability, in the order of the labels"),),
    labels=("survived", "died_in_hospital"),
    positive_label="died_in_hospital",
    # Chosen on out-of-fold risks, measured on stays that nothing was chosen by; metadata.json holds the run.
    operating_point=OperatingPoint(
        threshold=0.1261,
        sensitivity=(0.807, 0.710, 0.878),
        specificity=(0.704, 0.663, 0.742),
        measured_on="600 held-back stays (83 deaths) of PhysioNet/CinC Challenge 2012, set A",
    ),
    abstention_band=(0.0972, 0.1620),
    intended_use=IntendedUse(
        statement=(
            "Adults in intensive care, once 48 hours of the stay are over: information on the risk of death in "
            "hospital for auditing and research. Not for a decision on the care of one patient."
        ),
        age_years=(15, 120),
    ),
    limits=(
        "Learnt on 3,400 stays of one hospital in one country (PhysioNet/CinC Challenge 2012, set A); no other "
        "hospital has been measured.",
        "Ages above 90 are recorded as 90 in the data.",
        "The features summarise 48 hours; a row from fewer hours is outside what was learnt.",
        "A risk for a group of similar stays, not a forecast for one person.",
    ),
    train="triton_models.icu_mortality.train.train",
    judge="triton_models.icu_mortality.judge.judge",
    weights="icu_mortality.onnx",
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
    gate=Gate(metric="auroc", floor=0.75),
    retrain_after=500,
    licences={"training data": "PhysioNet/CinC Challenge 2012 set A, ODC-By 1.0"},
)

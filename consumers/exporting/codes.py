"""Codes of findings, and how a presence is said; labels without a code of a standard get one of our own scheme."""

from pydicom.sr.coding import Code

FINDINGS = {
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "bacterial_pneumonia": Code("53084003", "SCT", "Bacterial pneumonia"),
    "viral_pneumonia": Code("75570004", "SCT", "Viral pneumonia"),
    "tuberculosis": Code("154283005", "SCT", "Pulmonary tuberculosis"),
    "fracture": Code("125605004", "SCT", "Fracture of bone"),
}
NOTHING_FOUND = frozenset({"normal", "no_finding", "healthy"})
OWN_SCHEME = "99CLINSTREAM"

# By Body Part Examined (0018,0015), PS3.16 Annex L, of those that a card names.
BODY_PARTS = {
    "CHEST": Code("816094009", "SCT", "Chest"),
    "THORAX": Code("816094009", "SCT", "Chest"),
    "ARM": Code("40983000", "SCT", "Upper arm"),
    "CLAVICLE": Code("51299004", "SCT", "Clavicle"),
    "ELBOW": Code("16953009", "SCT", "Elbow joint"),
    "FINGER": Code("7569003", "SCT", "Finger"),
    "FOREARM": Code("14975008", "SCT", "Forearm"),
    "HAND": Code("85562004", "SCT", "Hand"),
    "HUMERUS": Code("85050009", "SCT", "Humerus"),
    "SHOULDER": Code("16982005", "SCT", "Shoulder"),
    "WRIST": Code("74670003", "SCT", "Wrist joint"),
    "EAR": Code("117590005", "SCT", "Ear"),
}
IMAGE_REGION = Code("111030", "DCM", "Image Region")

PRESENCE = Code("705057003", "SCT", "Presence")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("2667000", "SCT", "Absent")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")

CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
SUSPICION = Code("SUSPICION", OWN_SCHEME, "Suspicion of the region, not calibrated")
RATIO = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "%")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

OUTCOME = Code("111064", "DCM", "Summary of Detections")
SUCCEEDED_WITHOUT = Code("111241", "DCM", "All algorithms succeeded; without findings")
SUCCEEDED_WITH = Code("111242", "DCM", "All algorithms succeeded; with findings")
PARTLY_WITHOUT = Code("111243", "DCM", "Not all algorithms succeeded; without findings")
PARTLY_WITH = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED = Code("111245", "DCM", "No algorithms succeeded; without findings")

REASON = Code("NOT_ANALYSED", OWN_SCHEME, "Reason for no analysis")

ASSESSMENT = Code("122776", "DCM", "Disagreement with prior findings")
REJECTED = Code("113001", "DCM", "Rejected for Quality Reasons")

PROCEDURE = Code("363679005", "SCT", "Imaging")


def of_label(label: str) -> Code:
    """The code of a model's label."""
    return FINDINGS.get(label) or Code(label.upper()[:16], OWN_SCHEME, label.replace("_", " ").capitalize()[:64])

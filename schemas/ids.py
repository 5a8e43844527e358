"""Deterministic identities: the same thing sent or delivered twice gets the same id; no randomness, no clock."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

from schemas.errors import Unprocessable

NAMESPACE = UUID("6f1d3a52-7c0e-5b44-9a86-2f3f0c1e7b90")

DICOM_ROOT = "2.25.147696067055883007040294810252679740304"
"""The root of every UID that this system makes (PS3.5 B.2, from a UUID); 44 characters, so 19 digits may follow."""

STANDARD_ROOT = "1.2.840.10008."
"""What all UIDs begin with that the DICOM standard itself names."""

TELLING = ("sr", "sc", "pr")
"""Structured report, secondary capture, presentation state: the objects that tell a report."""

EDITIONS = ("", "deidentified")
"""With names, and without."""

SIMULATED = "simulated:"
"""Prefix of the object ids of injected data: it shares no identity with the clinical object that it may repeat."""


def sha256_hex(data: bytes | memoryview) -> str:
    """SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def event_id(object_id: str, content_sha256: str) -> UUID:
    """Id of "this content of this object was observed"; the sender is deliberately not part of it.

    For DICOM `content_sha256` is taken over the data set without group 0002 (PS3.10 7.1), so that a file and the
    same data set on the wire are one event.
    """
    return uuid5(NAMESPACE, f"event\n{object_id}\n{content_sha256}")


def answer_id(event: UUID, task: str, version: str, preprocessing_version: str) -> UUID:
    """Id of what one version of a model answers to one event; a redelivery answers with the same id."""
    return uuid5(NAMESPACE, f"answer\n{event}\n{task}\n{version}\n{preprocessing_version}")


def pseudonym(key: bytes, kind: str, issuer: str, identifier: str) -> str:
    """Keyed hash (HMAC-SHA-256, 128 bits, hexadecimal) of an identity; `kind` separates patients, studies, stays.

    Patients are (issuer, id): the same id from two issuers is two subjects (DICOM PS3.3 C.7.1.1, Issuer of
    Patient ID (0010,0021)).
    """
    message = f"{kind}\n{issuer}\n{identifier}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]


def subject_id(key: bytes, issuer: str, identifier: str) -> str:
    """Pseudonymous subject of events, for a patient, wearer or stay, as `sub-` and 32 hexadecimal digits."""
    return "sub-" + pseudonym(key, "subject", issuer, identifier)


def study_id(key: bytes, study_instance_uid: str) -> str:
    """Pseudonymous study, used as the Kafka key of images, as `stu-` and 32 hexadecimal digits."""
    return "stu-" + pseudonym(key, "study", "", study_instance_uid)


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; refuses a time without a zone, since guessing one would reorder a patient's day."""
    if moment.tzinfo is None:
        raise Unprocessable("the time carries no zone; send it with an offset, for example 2026-01-31T08:00:00Z")
    return moment.astimezone(UTC)


def reading_object_id(subject: str, observed_at: datetime) -> str:
    """Object id of a reading: subject and sensor time to the millisecond, never the device string."""
    stamp = utc(observed_at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{subject}@{stamp}"


def features_content(features: Mapping[str, float | None]) -> str:
    """Content hash of a set of named features; missing and None are the same, the order does not matter."""
    lines = [f"{name}={float(value)!r}" for name, value in sorted(features.items()) if value is not None]
    return sha256_hex("\n".join(lines).encode())


def reading_content(glucose_mg_dl: float, clipped: str = "") -> str:
    """Content hash of a glucose reading: its value in mg/dL to a tenth, and whether it is a sensor's bound.

    A tenth, so that the same reading in mmol/L from one uploader and in mg/dL from another is one content only where
    they agree; sensors resolve 1 mg/dL.
    """
    return sha256_hex(f"{glucose_mg_dl:.1f}\n{clipped}".encode())


def deletion_content(before: str) -> str:
    """Content hash of "the content `before` of this reading is taken back": a repeat is the same one."""
    return sha256_hex(f"deleted\n{before}".encode())


def restored_content(content: str, before: str) -> str:
    """Content hash of a value that was said before and is true again, after the content `before`."""
    return sha256_hex(f"restored\n{content}\n{before}".encode())


def upload_object_id(subject: str, laterality: str, content_sha256: str) -> str:
    """Object id of a picture that came without a UID: subject, side and content."""
    return f"{subject}/{laterality or 'none'}/{content_sha256}"


def override_id(result: UUID, clinician: str, verdict: str, label: str, idempotency_key: str) -> UUID:
    """Id of one assessment; the client's idempotency key makes a repeated request the same assessment."""
    return uuid5(NAMESPACE, f"override\n{result}\n{clinician}\n{verdict}\n{label}\n{idempotency_key}")


def retrain_request_id(task: str, window: int) -> UUID:
    """Id of the request that a full window of corrections makes."""
    return uuid5(NAMESPACE, f"retrain\n{task}\n{window}")


def clinician_id(key: bytes, name: str) -> str:
    """Pseudonym of a clinician, as `cli-` and 32 hexadecimal digits; case and outer spaces do not matter."""
    return "cli-" + pseudonym(key, "clinician", "", name.strip().casefold())


def metrics_id(subject: str, simulated: bool, days: int, ends_on: date, revision: int) -> UUID:
    """Id of one revision of a wearer's glycaemic metrics; sent again it is the same."""
    return uuid5(NAMESPACE, f"metrics\n{SIMULATED if simulated else ''}{subject}\n{days}\n{ends_on}\n{revision}")


def own_uid(*parts: str) -> str:
    """A DICOM UID under our root, the same for the same parts: about 63 bits of their hash behind it, 64 characters."""
    return f"{DICOM_ROOT}.{int(sha256_hex(chr(10).join(parts).encode()), 16) % 10**19}"


def is_own_uid(uid: str) -> bool:
    """Whether this system made the object of that UID; also behind the mark of an injected one."""
    return uid.removeprefix(SIMULATED).startswith(f"{DICOM_ROOT}.")


def report_uid(what: str, report: UUID, edition: str = "") -> str:
    """The DICOM UID of an object that tells a report: `sr`, `sc` or `pr`; an edition without names is an object of its
    own."""
    return own_uid(what, str(report), edition)


def report_uids(report: UUID) -> set[str]:
    """All that may have left to tell a report."""
    return {report_uid(what, report, edition) for what in TELLING for edition in EDITIONS}


def pseudonymous_uid(key: bytes, uid: str) -> str:
    """The UID that stands for `uid` in what was de-identified: the same whoever sent it, and however often.

    Derived from a UUID (PS3.5 B.2). UIDs of the standard and of ours tell nobody and stay.
    """
    if not uid or uid.startswith(STANDARD_ROOT) or is_own_uid(uid):
        return uid
    digest = hmac.new(key, f"uid\n{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{UUID(bytes=digest[:16], version=5).int}"


def pseudonymous_patient(key: bytes, issuer: str, patient_id: str) -> str:
    """Patient ID of a de-identified object, so that a patient's objects stay together; empty for an empty one."""
    return f"DEID-{pseudonym(key, 'deidentified patient', issuer, patient_id)[:24]}" if patient_id else ""


def pseudonymous_accession(key: bytes, number: str) -> str:
    """Accession Number of a de-identified object, in the 16 characters that one has; empty for an empty one."""
    return f"D{pseudonym(key, 'deidentified accession', '', number)[:15].upper()}" if number else ""


def pseudonyms_of(key: bytes, issuer: str, word: str) -> tuple[str, str, str]:
    """What a UID, accession number or patient id is called in de-identified objects."""
    return pseudonymous_uid(key, word), pseudonymous_accession(key, word), pseudonymous_patient(key, issuer, word)


def export_id(result: UUID, action: str, change: str, destination: str) -> UUID:
    """Id of one sending to one destination; `change` tells one amendment of a result from another."""
    return uuid5(NAMESPACE, f"export\n{result}\n{action}\n{change}\n{destination}")


def part_id(whole: UUID, part: str) -> UUID:
    """Id of a named part of something that has an id."""
    return uuid5(whole, part)

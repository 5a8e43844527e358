"""Structured logs as JSON lines without personal data; what is worth logging is decided where it happens.

Event ids are allowed: they say which event without saying whose. Three ways in are closed: keys that name personal
data, texts of foreign errors (parsers and databases quote the value they choke on), and texts of warnings.
"""

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO

import msgspec
import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter

from schemas.errors import ClinstreamError

REMOVED = "[removed]"
PERSONAL = frozenset(
    {
        "accession",
        "accession_number",
        "address",
        "birth_date",
        "birthdate",
        "date_of_birth",
        "dataset",
        "email",
        "features",
        "issuer",
        "mrn",
        "name_of_patient",
        "other_patient_ids",
        "patient",
        "payload",
        "phone",
        "physician",
        "referring_physician",
        "stay",
        "stay_id",
        "study_instance_uid",
        "wearer",
    }
)
PERSONAL_PREFIXES = ("patient_", "patients_")
# Errors of the programmer or the operating system: their texts name code and files, not what was sent.
TELLING = (ClinstreamError, TypeError, AttributeError, NameError, ImportError, RuntimeError, OSError, AssertionError)
SILENCED = ("pydicom", "pynetdicom")

Event = MutableMapping[str, Any]


def is_personal(key: str) -> bool:
    """Whether a field of this name may hold personal data; `PatientName` and `patient-name` count as well."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in key.replace("-", "_").replace(" ", "_"))
    plain = snake.strip("_").replace("__", "_")
    return plain in PERSONAL or plain.startswith(PERSONAL_PREFIXES)


def drop_personal(_logger: Any, _method: str, event: Event) -> Event:
    """Replaces the values of personal fields, at any depth; the key stays, so that the leak can be found."""
    for key in list(event):
        event[key] = REMOVED if is_personal(key) else _clean(event[key])
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: REMOVED if is_personal(str(k)) else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def describe_error(_logger: Any, _method: str, event: Event) -> Event:
    """Renders `exc_info` as class, frames and, for errors of our own or of the programmer, the text."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = type(error).__qualname__
        if isinstance(error, TELLING):
            event["error_text"] = str(error)
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        event["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def configure_logging(process: str, index: int = 0, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Sends all logs of this process, libraries' included, as JSON lines to `stream` (standard output).

    Libraries are heard from WARNING on; those that quote data sets in their messages not at all.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]

    def whose(_logger: Any, _method: str, event: Event) -> Event:
        event["process"], event["index"] = process, index
        return event

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[Any] = [ProcessorFormatter.remove_processors_meta, whose, describe_error, drop_personal, _render]
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("clinstream").setLevel(level)
    for name in SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.showwarning = _show_warning


def _render(_logger: Any, _method: str, event: Event) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logger("warnings").warning("a library warned", category=category.__name__, at=f"{filename}:{lineno}")


def logger(name: str) -> BoundLogger:
    """A logger of ours, under `clinstream.`; pass facts as keywords: `log.info("recorded", events=256)`."""
    found: BoundLogger = structlog.stdlib.get_logger(f"clinstream.{name}")
    return found

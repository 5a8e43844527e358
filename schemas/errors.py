"""The one error tree of clinstream; foreign errors are translated into it at the door where they enter.

ClinstreamError
├── UserError                what a person asked for cannot be done; the message says what to do instead
│   └── SettingsError        a setting is missing or contradicts another
├── RejectedInput            what a sender sent is not acceptable; resending the same thing does not help
│   ├── Unprocessable        it cannot be read at all (not JSON, truncated, wrong schema)
│   └── OutOfRange           it can be read but is not plausible
├── Unavailable              something outside is away; the event is not to blame; retry helps
│   ├── BrokerUnavailable    Kafka does not acknowledge
│   ├── DatabaseUnavailable  PostgreSQL cannot be reached or is shutting down
│   ├── StoreUnavailable     the object store cannot be reached or is full
│   ├── ServerDown           Triton is down, not ready, or has not loaded the model
│   ├── Overloaded           Triton's queue is full or a deadline passed; back off, then retry
│   └── ReceiverAway         a PACS or FHIR server that results are sent to does not take them now
├── StepFailed               a step gave up on an event that it could read; kept in dead.failed for replay
│   ├── InvalidForModel      the model itself refused the tensor
│   ├── MissingObject        the object store no longer holds what an event refers to
│   └── ReceiverRefused      a PACS or FHIR server does not take a result, and hardly will
└── Conflict                 the world is not as the caller assumes (a second process of one identity, ...)
"""


class ClinstreamError(Exception):
    """Root of all errors of this project. `retry_helps` says whether doing the same again can succeed."""

    retry_helps: bool = False


class UserError(ClinstreamError):
    """What a person asked for cannot be done; the message says why and what to do instead."""


class SettingsError(UserError):
    """A setting is missing, malformed or contradicts another."""


class RejectedInput(ClinstreamError):
    """A sender's input is not acceptable; resending it unchanged does not help."""


class Unprocessable(RejectedInput):
    """The input cannot be read at all."""


class OutOfRange(RejectedInput):
    """The input can be read but is not clinically plausible."""


class TooFewYet(OutOfRange):
    """Nothing is wrong with what came; too little of it is there yet, as while a sensor warms up."""


class Unavailable(ClinstreamError):
    """Something outside is away; keep what is in flight and try again."""

    retry_helps = True


class BrokerUnavailable(Unavailable):
    """Kafka did not acknowledge in time."""


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot be reached, is starting up or shutting down."""


class StoreUnavailable(Unavailable):
    """The object store cannot be reached or has no room."""


class ServerDown(Unavailable):
    """Triton is down, not ready, or does not have the model loaded."""


class Overloaded(Unavailable):
    """Triton answers that its queue is full, or the client's deadline passed."""


class ReceiverAway(Unavailable):
    """A receiver of results does not answer, or asks to come again."""


class StepFailed(ClinstreamError):
    """A step gave up on an event that it could read."""


class InvalidForModel(StepFailed):
    """The model, which answers its warm-up, refuses this tensor."""


class MissingObject(StepFailed):
    """The object store no longer holds what an event refers to."""


class ReceiverRefused(StepFailed):
    """A receiver of results refuses one, or us."""


class Conflict(ClinstreamError):
    """Another process or an earlier action stands in the way."""

"""What the door and the models would do with a file, row by row and card by card; nothing is sent or stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import triton_models
from adapters.dicom_reading import read_header
from adapters.routing_file import routing_table
from adapters.settings import Settings
from clinstream.sending import objects
from clinstream.sending.objects import StorageObject
from clinstream.sending.wrap import Wrapping
from consumers import route as cards
from producers import dicom_identity
from producers.store_request import StoreRequest, observed, part_10, pseudonymous
from schemas.errors import RejectedInput, UserError
from schemas.routing import Read, Route

NO_KEY = b"explaining needs no key"
FATES = {cards.Claimed: "claimed", cards.Refused: "refused", cards.NotClaimed: "not applicable"}


@dataclass(frozen=True, slots=True)
class Modelled:
    """What one task says to the object."""

    task: str
    fate: str
    why: str


@dataclass(frozen=True, slots=True)
class Explained:
    """The route, the rows in their order, and what the models then say."""

    route: Route
    reads: Sequence[Read]
    models: Sequence[Modelled]


def explain(settings: Settings, file: Path, *, calling_ae: str, called_ae: str, priority: int) -> Explained:
    """Raises UserError for a file that the door would not take, SettingsError for a table that cannot be used."""
    table = routing_table(settings.home, settings.doors.routing)
    item = objects.load(file, Wrapping())
    if not isinstance(item, StorageObject):
        raise UserError(f"{file}: {item.reason}.")
    request = StoreRequest(
        data=item.data,
        transfer_syntax_uid=item.transfer_syntax_uid,
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        priority=priority,
        sender=calling_ae,
        called=called_ae,
    )
    try:
        header = dicom_identity.read_header(item.data, item.transfer_syntax_uid, table.tags)
        told = pseudonymous(request, header, NO_KEY, table)
        stored = part_10(told.request, told.header)
        event, _ = observed(told.request, told.header, stored, NO_KEY, datetime.now(UTC), table)
        image = read_header(bytes(stored))
    except RejectedInput as error:
        raise UserError(f"{file}: the door would not take it: {error}.") from error
    facts = dicom_identity.facts_of(header, calling_ae, called_ae, priority)
    known = [model.card for model in triton_models.discover().values()]
    models = [
        Modelled(each.task, FATES[type(each)], getattr(each, "reason", "")) for each in cards.route(known, image, event)
    ]
    return Explained(table.route(facts), table.read(facts), models)

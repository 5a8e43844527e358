"""A FHIR R4 server that results are written to, as one transaction."""

from adapters.receivers.parcel import Parcel, Receipt
from adapters.receivers.web import client, judged
from adapters.settings import Destination
from schemas.errors import ReceiverRefused

JSON = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}


class FhirServer:
    """A receiver of kind `fhir`: its answer to a transaction says that all of it is stored."""

    def __init__(self, destination: Destination) -> None:
        self._to = destination

    def probe(self) -> None:
        """Reads the capability statement; raises ReceiverAway."""
        with client(self._to) as web:
            judged(lambda: web.get("/metadata", headers=JSON))

    def deliver(self, parcel: Parcel) -> Receipt:
        """POSTs the Bundle; every entry is a PUT to an id of ours, so a repeat changes nothing."""
        with client(self._to) as web:
            answer = judged(lambda: web.post("", json=dict(parcel.bundle), headers=JSON))
        ids = tuple(entry["request"]["url"] for entry in parcel.bundle["entry"])
        said = answer.json().get("entry", []) if answer.content else []
        bad = [each for each in said if not str(each.get("response", {}).get("status", "")).startswith("2")]
        if bad:
            raise ReceiverRefused(f"it refuses {len(bad)} of {len(ids)} resources")
        return Receipt(ids, confirmed=len(said) == len(ids))

"""Images and everything that is known of a thing, in dictionaries."""

from collections.abc import Sequence
from uuid import UUID

from adapters.database import ImageIdentity, Trail
from adapters.fakes.database.results import Results
from adapters.fakes.database.state import in_order, stored_image


class Trails(Results):
    """Images and everything that is known of a thing, in dictionaries."""

    async def note_images(self, rows: Sequence[ImageIdentity]) -> None:
        """See Database.note_images."""
        await self.probe()
        for row in rows:
            self.images.setdefault(row.event_id, row)

    async def trail(
        self,
        *,
        events: Sequence[UUID] = (),
        objects: Sequence[str] = (),
        studies: Sequence[str] = (),
        subjects: Sequence[str] = (),
    ) -> Trail:
        """See Database.trail."""
        await self.probe()
        images = [
            image
            for image in self.images.values()
            if image.event_id in events
            or image.object_id in objects
            or image.study_id in studies
            or image.subject_id in subjects
        ]
        things = {*objects, *(image.object_id for image in images)}
        things |= {row.key[0] for row in self.visible.values() if row.subject_id in subjects}
        known = {*events, *(image.event_id for image in images)}
        known |= {row.event_id for row in self.visible.values() if row.key[0] in things}
        outcomes = [row for row in self.outcomes.values() if row.event_id in known or row.subject_id in subjects]
        known |= {row.event_id for row in outcomes}
        answers = [answer for answer in self.answers.values() if answer.event_id in known]
        things |= {answer.object_id for answer in answers}
        shown = sorted((r for r in self.visible.values() if r.key[0] in things), key=in_order)
        return Trail([stored_image(image) for image in images], answers, [self._stored(r) for r in shown], outcomes)

    async def look_up(self, number: str, *, by_whom: str, purpose: str) -> tuple[set[str], set[str]]:
        """See Database.look_up."""
        await self.probe()
        rows = self.images.values()
        studies = {row.study_id for row in rows if number in (row.accession_number, row.study_instance_uid)}
        subjects = {row.subject_id for row in rows if number == row.patient_id}
        self.audit.append({"by_whom": by_whom, "purpose": purpose, "action": "identities.look_up"})
        return studies, subjects

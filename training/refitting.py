"""Refits wearers' own vectors when that is due and ends their trials: a page of wearers a pass, never in a hurry.

It runs beside the runs of the trainer. What one attempt comes to is noted in one transaction, so that whatever dies
before leaves no trace, and of two who work on the same wearer the later changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Standing, WearerModel
from adapters.releases import Choice
from adapters.triton import Inference
from schemas.errors import ClinstreamError, Unavailable
from training import personal
from triton_models.glucose.card import CARD
from triton_models.glucose.personal import READINGS_BETWEEN_FITS

log = telemetry.logger("vectors")

Reason = Literal["", "first readings", "new readings", "another version", "schedule", "drop of accuracy", "trial"]

# Wearers looked at and attempts made in a pass, and the rest after it.
PAGE, MOST = 200, 20
PASS_S = 10.0
AWAY_S = 10.0
SCHEDULE = timedelta(days=7)
# So many forecasts since the last attempt must have met their truth, and be off by so much more than at the fit.
DROP_TRUTHS, DROP_RATIO = 36, 1.5
# Before that a trial cannot have the truths that it needs.
TRIAL_AFTER = timedelta(hours=personal.TRIAL_WINDOWS * personal.APART_MINUTES / 60 + 1)


class Models(personal.Models, Protocol):
    """Where it stands, besides what a fit needs; raises DatabaseUnavailable."""

    async def standings(self, after: str, limit: int, enough: int) -> list[Standing]:
        """How it stands with the next so many wearers after a pseudonym, in their order."""
        ...


class Releases(Protocol):
    """Which version answers whom; `adapters.releases.ReleaseBook` is one."""

    def choose(self, task: str, subject_id: str) -> Choice:
        """The version for a subject; raises DatabaseUnavailable until the release log was read once."""
        ...


def why_due(standing: Standing, version: str, now: datetime) -> Reason:
    """Why a wearer's vector is to be fitted, or its trial ended, now; empty where it is not."""
    if standing.attempted_at is None:
        return "first readings" if standing.new_readings >= READINGS_BETWEEN_FITS else ""
    if standing.base_version != version:
        return "another version"
    if standing.on_trial and now - standing.attempted_at < SCHEDULE:
        # What is new is judged before anything newer; a trial that finds no end makes way for the next attempt.
        return "trial" if now - standing.attempted_at >= TRIAL_AFTER else ""
    if standing.new_readings >= READINGS_BETWEEN_FITS:
        return "new readings"
    if standing.new_readings and now - standing.attempted_at >= SCHEDULE:
        return "schedule"
    if standing.truths >= DROP_TRUTHS and standing.rmse_at_fit and standing.rmse > DROP_RATIO * standing.rmse_at_fit:
        return "drop of accuracy"
    return ""


async def attempt(
    models: Models, inference: Inference, clock: Clock, standing: Standing, version: str
) -> WearerModel | None:
    """What is due of one wearer, done; None where nothing is, or where somebody else was faster.

    Raises DatabaseUnavailable, and ServerDown or Overloaded where Triton does not answer.
    """
    reason = why_due(standing, version, clock.now())
    if not reason:
        return None
    if reason == "trial":
        return await personal.end_trial(models, inference, standing.wearer)
    return await personal.fit(models, inference, clock, standing.wearer, version, reason, standing.attempted_at)


class Refitting:
    """Goes round all wearers for ever; several may, each from where it is."""

    def __init__(self, models: Models, inference: Inference, releases: Releases, clock: Clock) -> None:
        self._models, self._inference, self._releases, self._clock = models, inference, releases, clock
        self._after = ""

    async def run(self) -> None:
        """Works for ever; waits while the database or Triton is away. Ends by cancellation."""
        while True:
            try:
                await self.once()
            except Unavailable as error:
                log.warning("vectors wait", reason=type(error).__name__)
                await self._clock.sleep(AWAY_S)
            else:
                await self._clock.sleep(PASS_S)

    async def once(self) -> list[WearerModel]:
        """One pass: the next page of wearers, at most 20 attempts; goes on behind the last one looked at.

        Raises DatabaseUnavailable, and ServerDown or Overloaded where Triton does not answer.
        """
        page = await self._models.standings(self._after, PAGE, READINGS_BETWEEN_FITS)
        made: list[WearerModel] = []
        for standing in page:
            if len(made) == MOST:
                return made
            began = self._clock.monotonic()
            done = await self._attempt(standing)
            self._after = standing.wearer[0]
            if done is not None:
                made.append(done)
                log.info("vector", outcome=done.outcome, readings=done.readings)
                # As long a rest as the work took: whoever waits for a forecast goes first.
                await self._clock.sleep(self._clock.monotonic() - began)
        if len(page) < PAGE:
            self._after = ""
        return made

    async def _attempt(self, standing: Standing) -> WearerModel | None:
        version = self._releases.choose(CARD.name, standing.wearer[0]).version
        try:
            return await attempt(self._models, self._inference, self._clock, standing, version)
        except Unavailable:
            raise
        except ClinstreamError as error:
            log.warning("a vector could not be fitted", why=str(error))
        except Exception as error:  # one wearer's readings must not keep the others waiting
            log.error("fitting a vector broke", exc_info=error)
        return None


async def everybody(models: Models) -> Sequence[Standing]:
    """How it stands with all wearers."""
    found: list[Standing] = []
    while page := await models.standings(found[-1].wearer[0] if found else "", PAGE, READINGS_BETWEEN_FITS):
        found += page
    return found

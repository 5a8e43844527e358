"""The training worker: takes one run after the other from the runs table to its end, however often it is killed.

What was reached is in the run's row and in files under names that follow from it, so that whoever takes the run up
again goes on from there: one request ends as one run.
"""

import asyncio
import importlib.util
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters import telemetry, versions
from adapters.clock import Clock
from adapters.database import Correction, Database, Run, Version
from adapters.pixels import BlobStore, blob_uri
from adapters.settings import Settings
from schemas import ids
from schemas.errors import MissingObject, Unavailable, UserError
from training import candidate, children, observed, release, snapshots
from triton_models.model import Model

log = telemetry.logger("trainer")

LEASE = timedelta(seconds=30)
HOLD_S = 5.0
POLL_S = 1.0
AWAY_S = 2.0
LACKING_S = 30.0
TRIES = 6


class Lost(Exception):
    """Somebody else has the run by now."""


class Worker:
    """One of these processes runs; several share the work by leases."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        models: Mapping[str, Model],
        database: Database,
        store: BlobStore,
        clock: Clock,
        *,
        quick: bool = False,
    ) -> None:
        self._name, self._settings, self._models = name, settings, models
        self._database, self._store, self._clock = database, store, clock
        # Not "training": processes run with the home as their folder, and Python would take it for this package.
        self._folder = settings.home / "learning"
        self._quick = quick

    async def work(self) -> None:
        """Works for ever; waits while something is away. Ends by cancellation, which leaves the run to be taken up."""
        while True:
            if importlib.util.find_spec("torch") is None:
                log.warning("training waits: install requirements/train.lock, serving does without it")
                await self._clock.sleep(LACKING_S)
                continue
            try:
                run = await self._database.claim_run(self._name, LEASE)
                if run is None:
                    await self._clock.sleep(POLL_S)
                    continue
                await self._held(run)
            except Unavailable as error:
                log.warning("the trainer waits", reason=type(error).__name__)
                await self._clock.sleep(AWAY_S)

    async def _held(self, run: Run) -> None:
        """Takes a run to its end while its lease is kept alive."""
        working = asyncio.ensure_future(self._take(run))
        holding = asyncio.ensure_future(self._hold(run))
        try:
            done, _ = await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
            if working in done:
                working.result()
            else:
                log.warning("the lease was lost", task=run.task, request=str(run.request_id))
        except Lost:
            log.warning("another worker has the run", task=run.task, request=str(run.request_id))
        finally:
            for each in (working, holding):
                each.cancel()
            await asyncio.gather(working, holding, return_exceptions=True)

    async def _hold(self, run: Run) -> None:
        while True:
            await self._clock.sleep(HOLD_S)
            with suppress(Unavailable):  # the lease outlasts a short absence of the database
                if not await self._database.hold_run(run, LEASE):
                    return

    async def _take(self, run: Run) -> None:
        log.info("trains", task=run.task, request=str(run.request_id), attempt=run.attempt)
        try:
            await self._steps(run)
        except UserError as error:
            await self._fail(run, str(error))
        except MissingObject as error:
            await self._fail(run, str(error))
        except (Lost, Unavailable):
            raise
        except Exception as error:  # a fault of ours; taking the run up again may help, but not for ever
            if run.attempt < TRIES:
                raise
            log.error("a run was given up", task=run.task, exc_info=error)
            await self._fail(run, f"ended {run.attempt} times with an unexpected {type(error).__name__}")

    async def _steps(self, run: Run) -> None:
        model = self._models.get(run.task)
        if model is None:
            raise UserError(f"There is no model {run.task} here.")
        kept = run.snapshot and (self._folder / "snapshots" / run.snapshot).is_dir()
        name = run.snapshot if kept else await self._snapshot(run, model)
        known = await self._database.versions()
        now = release.standing(await self._database.releases(), run.task)
        version = run.version or next_version([model.card.version, *now.states, *_numbers(known, run.task)])
        await self._note(run, "train", snapshot=name, version=version)
        verdict = await self._verdict(run, model, name, version, now.serving() or model.card.version, known)
        figures = dict(verdict["figures"])
        if not verdict["passed"]:
            rows: list[release.Row] = [(version, "TRAINED", 0.0), (version, "REJECTED", 0.0)]
            await self._end(run, "REJECTED", f"rejected: {verdict['why']}", figures, None, rows)
            return
        await self._note(run, "register", version=version)
        registered = await self._registered(run, verdict, version)
        rows = [(version, "TRAINED", 0.0), (version, "REGISTERED", 0.0)]
        await self._end(run, "REGISTERED", f"registered: {verdict['why']}", figures, registered, rows)

    async def _snapshot(self, run: Run, model: Model) -> str:
        await self._note(run, "snapshot")
        corrections = await self._database.corrections(run.task, run.requested_at)
        rows = await asyncio.to_thread(self._rows, model, corrections)
        base = base_data(self._settings, run.task)
        name = await asyncio.to_thread(snapshots.take, base, model.card, rows, self._folder / "snapshots")
        log.info("snapshot", task=run.task, snapshot=name, corrections=len(rows))
        return name

    def _rows(self, model: Model, corrections: list[Correction]) -> list[tuple[snapshots.Observed, str]]:
        """What was observed of each correction and what its label is; what the log no longer holds is left out."""
        places = {(each.topic, each.partition, each.offset): each for each in corrections}
        events = observed.vitals(self._settings.kafka, places)
        labelled = (
            (events[place].features, snapshots.label_of(each, model.card))
            for place, each in places.items()
            if place in events
        )
        return [(features, label) for features, label in labelled if label]

    async def _verdict(
        self, run: Run, model: Model, snapshot: str, version: str, serving: str, known: list[Version]
    ) -> dict[str, Any]:
        """The verdict on the candidate: read where an earlier attempt finished it, else trained and judged anew."""
        folder = self._folder / "runs" / str(run.request_id)
        finished = sorted(folder.glob(f"attempt-*/{candidate.VERDICT}"))
        if not finished:
            for old in folder.glob("attempt-*"):
                shutil.rmtree(old)
            out = folder / f"attempt-{run.attempt}"
            folder.mkdir(parents=True, exist_ok=True)
            order = folder / f"order-{run.attempt}.json"
            given = await self._assignment(model, snapshot, out, version, serving, known)
            order.write_text(json.dumps(asdict(given)), encoding="utf-8")
            ended = await children.run("candidate", order, folder / "log.txt")
            if ended.code == 2:
                raise UserError(ended.said.splitlines()[-1] if ended.said else "the training refused its data")
            if ended.code:
                await self._again(run, f"the training process ended with {ended.code}; its log is {folder / 'log.txt'}")
            finished = [out / candidate.VERDICT]
        verdict: dict[str, Any] = json.loads(finished[0].read_text(encoding="utf-8"))
        return verdict

    async def _again(self, run: Run, why: str) -> None:
        """Gives the run back after a crash of its child, or ends it as failed after the third."""
        if run.attempt >= TRIES:
            raise UserError(f"{why} (tried {run.attempt} times)")
        await self._database.release_run(run, why)
        raise Lost

    async def _assignment(
        self, model: Model, snapshot: str, out: Path, version: str, serving: str, known: list[Version]
    ) -> candidate.Assignment:
        card, weights = model.card, model.weights_path
        if serving != card.version:
            trained = next((each for each in known if (each.task, each.version) == (card.name, serving)), None)
            if trained is None:
                raise UserError(f"{card.name} {serving} serves, but is not registered: nothing to compare with.")
            weights = await versions.fetch(self._store, trained, self._settings.home / "versions")
            card = versions.card_of(card, trained)
        return candidate.Assignment(
            task=card.name,
            snapshot=str(self._folder / "snapshots" / snapshot),
            out=str(out),
            version=version,
            serving=serving,
            serving_weights=str(weights),
            serving_point=asdict(card.operating_point) if card.operating_point else None,
            serving_band=card.abstention_band,
            quick=self._quick,
        )

    async def _registered(self, run: Run, verdict: dict[str, Any], version: str) -> Version:
        """Weights in the object store, the run in the registry; both may be done again."""
        weights = await asyncio.to_thread(Path(verdict["weights"]).read_bytes)
        digest = ids.sha256_hex(weights)
        uri = blob_uri("weights", digest)
        await self._store.put(uri, weights, durable=True)
        folder = self._folder / "runs" / str(run.request_id)
        order, answer = folder / "register.json", folder / "registered.json"
        trained = verdict["trained"]
        entry = {
            "task": run.task,
            "version": version,
            "request_id": str(run.request_id),
            "snapshot": run.snapshot or trained["data_hash"],
            "parameters": {**trained["recipe"], "seed": trained["seed"], "data_hash": trained["data_hash"]},
            "metrics": trained["metrics"],
            "figures": verdict["figures"]["candidate"],
            "tags": {**trained["hardware"], **{f"dependency.{k}": v for k, v in trained["dependencies"].items()}},
            "folder": str(Path(verdict["weights"]).parent),
            "answer": str(answer),
        }
        order.write_text(json.dumps(entry), encoding="utf-8")
        ended = await children.run("register", order, folder / "log.txt")
        if ended.code:
            await self._again(run, f"the registry could not be written; the log is {folder / 'log.txt'}")
        return Version(
            task=run.task,
            version=version,
            request_id=run.request_id,
            weights_uri=uri,
            weights_sha256=digest,
            operating_point=verdict["operating_point"],
            abstention_band=(verdict["abstention_band"][0], verdict["abstention_band"][1]),
            preprocessing_version=verdict["preprocessing_version"],
            figures=verdict["figures"],
            registry_uri=json.loads(answer.read_text(encoding="utf-8"))["registry_uri"],
            registered_at=self._clock.now(),
        )

    async def _note(self, run: Run, stage: str, *, snapshot: str | None = None, version: str | None = None) -> None:
        if not await self._database.note_run(run, stage, snapshot=snapshot, version=version):
            raise Lost

    async def _end(
        self, run: Run, state: Any, why: str, figures: dict[str, Any], version: Version | None, rows: list[release.Row]
    ) -> None:
        if not await self._database.end_run(run, state, why, figures, version=version, moves=rows):
            raise Lost
        telemetry.metrics().runs.labels(task=run.task, state=state).inc()
        log.info("run ended", task=run.task, state=state, why=why)

    async def _fail(self, run: Run, why: str) -> None:
        await self._end(run, "FAILED", why, {}, None, [])


def next_version(known: list[str]) -> str:
    """The next MINOR after the highest of the versions (MAJOR schema, MINOR retrain, PATCH fix)."""
    highest = max(tuple(int(part) for part in number.split(".")) for number in known)
    return f"{highest[0]}.{highest[1] + 1}.0"


def base_data(settings: Settings, task: str) -> Path:
    """Where a task's base data lies; raises UserError where no folder is set."""
    if settings.training_data is None:
        raise UserError("There is no base data to train on; set CLINSTREAM_TRAINING_DATA to a folder with one a task.")
    return settings.training_data / task


def _numbers(known: list[Version], task: str) -> list[str]:
    return [each.version for each in known if each.task == task]

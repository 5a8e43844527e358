"""Starts what the training room runs: `python -m training trainer|release-manager`, and the children of the first."""

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path

from adapters import bootstrap, settings, telemetry
from adapters.identity_lock import identity
from adapters.stopping import stop_on_signals
from schemas.errors import ClinstreamError
from schemas.events import RetrainRequested

PROCESSES = ("trainer", "release-manager")
CHILDREN = ("candidate", "register")
EXIT_BROKEN = 1

log = telemetry.logger("training")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a process until SIGTERM or SIGINT, or one order of the worker to its end."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("what", choices=[*PROCESSES, *CHILDREN])
    parser.add_argument("order", nargs="?", type=Path, help="the file with the order, for a child")
    parser.add_argument("--index", type=int, default=0, help="number among the processes of that name, from 0")
    chosen = parser.parse_args(arguments)
    if chosen.what in CHILDREN:
        return _child(chosen.what, chosen.order)
    telemetry.configure_logging(chosen.what, chosen.index)
    try:
        asyncio.run(_run(chosen.what, chosen.index))
    except ClinstreamError as error:
        log.error("cannot run", why=str(error), error=type(error).__name__)
        return EXIT_BROKEN
    except Exception as error:  # the last one to see it: logged without the data that its text may quote
        log.error("broke", exc_info=error)
        return EXIT_BROKEN
    return 0


async def _run(name: str, index: int) -> None:
    stop = stop_on_signals()
    known = settings.load()
    endpoint = telemetry.serve_metrics(known.metrics_port(name, index), host=known.metrics_host)
    try:
        with identity(known.home, name, index):
            await (_trainer(known, name, index, stop) if name == "trainer" else _manager(known, stop))
    finally:
        telemetry.metrics().ready.set(0)
        endpoint.close()


async def _trainer(known: settings.Settings, name: str, index: int, stop: asyncio.Event) -> None:
    import triton_models
    from training import bell
    from training.refitting import Refitting
    from training.worker import Worker

    models = triton_models.discover()
    needs = ("database", "store", "inference", "releases")
    async with bootstrap.services(known, needs, cards=[model.card for model in models.values()]) as services:
        loop, silence = asyncio.get_running_loop(), threading.Event()

        def note(asked: RetrainRequested) -> None:
            asyncio.run_coroutine_threadsafe(services.database.request_run(asked), loop).result()

        ear = threading.Thread(target=bell.listen, args=(known.kafka, note, silence), daemon=True)
        ear.start()
        worker = Worker(
            f"{known.home.name}/{name}.{index}",
            known,
            models,
            services.database,
            services.store,
            services.clock,
            quick=known.quick_training,
        )
        refitting = Refitting(services.database.wearer_models, services.inference, services.releases, services.clock)
        await _until(_both(worker.work(), refitting.run()), stop)
        silence.set()
        await asyncio.to_thread(ear.join, 5.0)


async def _both(one: Coroutine[None, None, None], other: Coroutine[None, None, None]) -> None:
    await asyncio.gather(one, other)


async def _manager(known: settings.Settings, stop: asyncio.Event) -> None:
    import triton_models
    from adapters.triton import TritonClient
    from training.manager import Manager

    models = triton_models.discover()
    needs = {"database", "store"}
    async with bootstrap.services(known, needs) as services, TritonClient(known.triton, services.clock) as servers:
        manager = Manager(known, models, services.database, services.store, servers, services.clock)
        await _until(manager.run(), stop)


async def _until(work: Coroutine[None, None, None], stop: asyncio.Event) -> None:
    """Runs work that never ends by itself until `stop` is set; raises what breaks it."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    telemetry.metrics().ready.set(1)
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        telemetry.metrics().ready.set(0)
        for each in (running, stopping):
            each.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


def _child(what: str, order: Path | None) -> int:
    if order is None:
        print("a child needs the file with its order", file=sys.stderr)
        return 2
    if what == "candidate":
        from training import candidate

        return candidate.work(order)
    from adapters import registry

    given = json.loads(order.read_text(encoding="utf-8"))
    answer = Path(given.pop("answer"))
    entry = registry.Entry(**{**given, "folder": Path(given["folder"])})
    answer.write_text(json.dumps({"registry_uri": registry.register(settings.load(), entry)}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

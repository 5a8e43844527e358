"""Starts one consumer process: `python -m consumers imaging-infer.routine --index 0`."""

import argparse
import sys
from collections.abc import Sequence

import uvloop

from adapters import bootstrap, settings, telemetry
from adapters.stopping import stop_on_signals
from consumers import pipelines, process, running
from schemas.errors import ClinstreamError

EXIT_BROKEN = 1
RELAY = "loop"
PREDICTIONS = "predictions"

log = telemetry.logger("consumers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 0 after an orderly stop, 1 when the process should be started anew."""
    parser = argparse.ArgumentParser(prog="python -m consumers", description=__doc__)
    parser.add_argument(
        "process", choices=sorted([*pipelines.PIPELINES, RELAY, PREDICTIONS]), help="name in the process table"
    )
    parser.add_argument("--index", type=int, default=0, help="number among the processes of that name, from 0")
    chosen = parser.parse_args(arguments)
    telemetry.configure_logging(chosen.process, chosen.index)
    try:
        uvloop.run(_run(chosen.process, chosen.index))  # a quarter less processor time an event than asyncio's own loop
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
    metrics = telemetry.serve_metrics(known.metrics_port(name, index), host=known.metrics_host)
    here = process.ConsumerProcess(name, index, known)
    try:
        if name == RELAY:
            async with bootstrap.services(known, pipelines.EVERYONE) as services:
                await running.run_beside(here, lambda: pipelines.beside(known, services), stop)
            return
        if name == PREDICTIONS:
            needs = pipelines.ANSWERS
            async with bootstrap.services(known, needs, cards=pipelines.cards(needs)) as services:
                await running.run_beside(here, lambda: pipelines.predictions(known, services), stop)
            return
        pipeline = pipelines.PIPELINES[name]
        async with bootstrap.services(known, pipeline.needs, cards=pipelines.cards(pipeline.needs)) as services:
            step = pipeline.build(known, services, name)
            if pipeline.beside is None:
                await running.run(here, step, services, stop)
            else:
                await running.run_with(here, step, services, pipeline.beside(known, services), stop)
    finally:
        metrics.close()


if __name__ == "__main__":
    sys.exit(main())

"""A consumer process of its own for tests to kill: passes readings on, one in fifty of them slowly.

python -m tests.support.toy_process HOME BROKER NAME INDEX IN OUT
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from adapters import telemetry
from adapters.clock import SystemClock
from adapters.kafka import KafkaPublisher
from adapters.settings import KafkaSettings, load
from adapters.stopping import stop_on_signals
from consumers import process, running
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome, Publish
from schemas.errors import ClinstreamError
from tests.support.arrivals import ToyStep, number_of, vitals
from tests.support.loop import Around

SLOW_S = 0.8


class PassOn(ToyStep):
    """Publishes each reading to another topic."""

    def __init__(self, come: str, go: str) -> None:
        super().__init__(topics=(come,), batch=Batch(1, 0.0), in_flight=32)
        self._go = go

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """One reading on its way; every fiftieth takes its time."""
        number = number_of(batch[0])
        await asyncio.sleep(SLOW_S if number % 50 == 0 else 0.002)
        return [[Publish(self._go, str(number).encode(), vitals(number), str(number), "sub-0")]]


async def main(home: str, address: str, name: str, index: str, come: str, go: str) -> None:
    """Runs until it is told to stop, or killed."""
    stop = stop_on_signals()
    settings = load(Path(home)).model_copy(update={"kafka": KafkaSettings(bootstrap_servers=address)})
    publisher = KafkaPublisher(settings.kafka, SystemClock())
    await publisher.start()
    try:
        here = process.ConsumerProcess(name, int(index), settings)
        await running.run(here, PassOn(come, go), Around(publisher), stop)
    finally:
        await publisher.stop()


if __name__ == "__main__":
    telemetry.configure_logging("toy")
    try:
        asyncio.run(main(*sys.argv[1:]))
    except ClinstreamError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)

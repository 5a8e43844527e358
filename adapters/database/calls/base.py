"""What all calls need: transactions, and what time it is."""

from adapters.clock import Clock
from adapters.database.engine import Transactions


class Calls:
    """Each call is one transaction; every method raises DatabaseUnavailable when PostgreSQL cannot be reached."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

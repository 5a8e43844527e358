"""Whatever order events finish in, the ledger never says to commit past one that is not done."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumers.ledger import OffsetLedger

PLACE = ("observed.vitals", 3)


@given(st.permutations(list(range(100, 130))), st.integers(0, 30))
def test_the_position_is_the_lowest_offset_in_flight_whatever_the_order_of_finishing(
    finishing: list[int], finished: int
) -> None:
    ledger = OffsetLedger()
    for offset in range(100, 130):
        ledger.took(PLACE, offset)
    for offset in finishing[:finished]:
        ledger.done(PLACE, offset)
    left = finishing[finished:]
    assert ledger.position(PLACE) == (min(left) if left else 130)
    assert ledger.in_flight(PLACE) == len(left)


class LedgerAgainstTheLog(RuleBasedStateMachine):
    """A partition that is read, worked on in any order, revoked and read again from what was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = OffsetLedger()
        self.next = 0
        self.committed = 0
        self.durable: set[int] = set()
        self.working: list[int] = []

    @rule(skip=st.booleans())
    def pull(self, skip: bool) -> None:
        """The next record comes off the log; another lane's is passed over."""
        if skip:
            self.ledger.passed(PLACE, self.next)
            self.durable.add(self.next)
        else:
            self.ledger.took(PLACE, self.next)
            self.working.append(self.next)
        self.next += 1

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Any event in flight becomes durable."""
        offset = self.working.pop(data.draw(st.integers(0, len(self.working) - 1)))
        self.durable.add(offset)
        self.ledger.done(PLACE, offset)

    @rule()
    def commit(self) -> None:
        """What Faust does each half second: never back."""
        position = self.ledger.position(PLACE)
        if position is not None:
            self.committed = max(self.committed, position)

    @rule()
    def revoke_and_assign(self) -> None:
        """A rebalance: reading starts at the committed offset; what was in flight goes on to its end."""
        self.ledger.forget([PLACE])
        self.next = self.committed

    @rule()
    def crash(self) -> None:
        """The process dies: nothing is in flight any more."""
        self.ledger = OffsetLedger()
        self.working.clear()
        self.next = self.committed

    @invariant()
    def nothing_below_the_committed_offset_is_unfinished(self) -> None:
        """The promise: what is committed never comes again, so all of it must be durable."""
        assert all(offset in self.durable for offset in range(self.committed))

    @invariant()
    def the_position_never_passes_an_event_that_is_not_durable(self) -> None:
        """The same for what the next commit would say."""
        position = self.ledger.position(PLACE)
        if position is not None:
            assert all(offset in self.durable for offset in range(position))


TestLedgerAgainstTheLog = LedgerAgainstTheLog.TestCase

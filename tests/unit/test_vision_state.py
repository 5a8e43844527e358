"""A training run of the image networks between two epochs: kept, taken over, refused; batches in their order (ME8)."""

from pathlib import Path

import pytest
import torch
from torch import nn

from schemas.errors import UserError
from triton_models._vision.state import Pace, State, ahead, mark_of

PACE = Pace(peak_rate=0.1, weight_decay=0.0, average=0.5, steps=8, rise=0.25, divisor=10.0)


def fresh(seed: int = 1) -> State[nn.Conv2d]:
    torch.manual_seed(seed)
    return State.begin(nn.Conv2d(1, 2, 3), PACE, seed)


def descend(state: State[nn.Conv2d], step: int) -> float:
    pixels = torch.rand(2, 1, 5, 5) + float(state.mixer.random())
    return state.descend(state.network(pixels).square().mean(), step)


@pytest.mark.parametrize("kept_mixer", [True, False])
def test_a_run_taken_over_goes_on_as_if_it_had_never_stopped(kept_mixer: bool, tmp_path: Path) -> None:
    """Also from a checkpoint without the mixer: there the mixer alone begins anew."""
    path, mark, whole = tmp_path / "last.pt", mark_of({"rate": 0.1}, 1), fresh()
    if kept_mixer:
        descend(whole, 0)
    whole.history.append({"loss": 1.0})
    whole.save(path, mark)
    if not kept_mixer:
        kept = torch.load(path, weights_only=True)
        del kept["mixer"]
        torch.save(kept, path)
    expected = [descend(whole, step) for step in (1, 2)]
    again = fresh(2 if kept_mixer else 1)
    assert not again.load(path, mark_of({"rate": 0.2}, 1))
    assert again.load(path, mark)
    assert [descend(again, step) for step in (1, 2)] == expected
    assert again.history == whole.history
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, again.averaged.state_dict()[name])


def test_a_lost_loss_leaves_the_weights_as_they_were_and_says_what_to_try() -> None:
    state = fresh()
    before = state.network.weight.detach().clone()
    with pytest.raises(UserError, match=r"became inf in epoch 1, step 4.*peak_rate \(0\.1\)"):
        state.descend(state.network(torch.ones(1, 1, 3, 3)).sum() * float("inf"), 3)
    assert torch.equal(state.network.weight, before)


def test_groups_learn_at_their_share_of_the_rate() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    state = State.begin(network, PACE, 1, [(network[0].parameters(), 0.2), (network[1].parameters(), 1.0)])
    slow, fast = (group["lr"] for group in state.optimiser.param_groups)
    assert (slow, fast) == pytest.approx((0.002, 0.01))


def test_batches_made_ahead_keep_their_order() -> None:
    assert list(ahead(iter(range(20)), 2)) == list(range(20))

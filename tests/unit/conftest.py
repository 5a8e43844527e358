"""What several unit tests share; servers are shared one folder up."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of torch that wait for each other on busy cores cost three times what they save."""
    import torch  # seconds, which only tests of training need

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Such small products only wait for each other on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

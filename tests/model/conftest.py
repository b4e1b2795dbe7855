import pytest


@pytest.fixture(scope="module", autouse=True)
def small_products(one_thread) -> None:
    """All of these."""

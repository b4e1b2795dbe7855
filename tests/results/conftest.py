from pathlib import Path

import pytest

from artquant.storage import Store, open_store


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same tests on both homes."""
    return request.getfixturevalue("s3_folder") if request.param == "s3" else open_store(f"file://{tmp_path}/root")

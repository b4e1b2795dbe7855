"""A night from Azure to Azure, on its emulator; the stores' own tests run there too: `make azure-tests`."""

import pytest

from artquant.results.readers import open_snapshot
from artquant.storage.store import Store
from tests.azurite import AZURITE
from tests.pipelines.engines import REDS, red_picture, red_score
from tests.pipelines.runs import Scorer, spec_for

pytestmark = pytest.mark.skipif(not AZURITE, reason="make azure-tests brings Azure's emulator")


def test_two_nights_from_azure_to_azure_score_each_artwork_once(scorer_here: Scorer, azure_folder: Store) -> None:
    source, output = azure_folder.child("art"), azure_folder.child("scores")
    for name, red in REDS.items():
        source.put(name, red_picture(red))
    first = scorer_here.score(spec_for(source, output, run_id="first", rows_per_file=16))
    source.put("more.png", red_picture(77))
    second = scorer_here.score(spec_for(source, output, run_id="second"))
    assert (first.report.num_scored, second.report.num_scored) == (len(REDS), 1)
    rows = open_snapshot(output.uri).to_table().to_pylist()
    assert {row["artwork_id"]: row["score"] for row in rows} == {
        name: pytest.approx(red_score(red)) for name, red in (REDS | {"more.png": 77}).items()
    }
    assert "CREATE SECRET (TYPE azure" in output.get("runs/second/report.html").decode()

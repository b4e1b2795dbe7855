"""Hugging Face data sets: the tables name their pictures, hold them or point at them, and are split by the names of their files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from artquant.annotations import read_annotations
from artquant.annotations.embedded import unpack_pictures
from artquant.annotations.split import split_annotations
from artquant.cli.places import train_places
from artquant.config import AnnotationSpec, ResolvedAnnotationSpec, TrainSpec
from artquant.core.errors import UserError
from artquant.paintings import jpeg, paint
from artquant.storage.store import Store, open_store
from tests.annotations.conftest import column
from tests.annotations.test_tables import parquet

PICTURES = [jpeg(paint(seed), 48) for seed in range(6)]


def embedded(rows: range) -> list[dict[str, object]]:
    return [{"bytes": PICTURES[row], "path": None} for row in rows]


def saved(store: Store) -> None:
    """As `push_to_hub` and `save_to_disk` lay files out."""
    store.put("data/train-00000-of-00001.parquet", parquet(image=embedded(range(4)), score=[1.0, 2.0, 3.0, 4.0], id=[9, 8, 7, 6]))
    store.put("data/test-00000-of-00001.parquet", parquet(image=embedded(range(4, 6)), score=[5.0, 6.0], id=[5, 4]))
    store.put("README.md", b"---\ndataset_info: {}\n---\n")
    store.put("dataset_dict.json", b'{"splits": ["train", "test"]}')


def test_embedded_pictures_are_unpacked_once_under_the_names_that_the_rows_get(store: Store, tmp_path: Path) -> None:
    saved(store)
    spec, output = AnnotationSpec(uri=store.uri), open_store(str(tmp_path / "out"))
    pictures = unpack_pictures(spec, output)
    names = column(read_annotations(spec), "artwork_id")
    assert names[:2] == ["data/test-00000-of-00001/000000.jpg", "data/test-00000-of-00001/000001.jpg"] and len(names) == 6
    assert [pictures.get(name) for name in names] == [*PICTURES[4:], *PICTURES[:4]]
    pictures.put(names[0], b"changed")
    assert unpack_pictures(spec, output).get(names[0]) == b"changed", "not written again"
    splits = split_annotations(ResolvedAnnotationSpec(uri=store.uri, images=unpack_pictures(spec, output).uri, validation_fraction=0))
    assert (len(splits.train), len(splits.test), splits.source) == (4, 2, "file")


def test_an_arrow_stream_reads_too_and_a_column_of_names_counts(store: Store, tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"image": embedded(range(2)), "file_name": ["a.jpg", "b.jpg"], "score": [1, 2]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    store.put("train/data-00000-of-00001.arrow", sink.getvalue().to_pybytes())
    store.put("train/state.json", b'{"_fingerprint": "x"}')
    pictures = unpack_pictures(AnnotationSpec(uri=store.uri), open_store(str(tmp_path)))
    assert column(read_annotations(AnnotationSpec(uri=store.uri)), "artwork_id") == ["a.jpg", "b.jpg"]
    assert pictures.get("b.jpg") == PICTURES[1]


def test_pictures_by_path_are_named_by_it(store: Store) -> None:
    store.put("train.parquet", parquet(image=[{"bytes": None, "path": "art/a.jpg"}, {"bytes": None, "path": "art/b.jpg"}], score=[1, 2]))
    assert column(read_annotations(AnnotationSpec(uri=store.uri)), "artwork_id") == ["art/a.jpg", "art/b.jpg"]


def test_a_job_takes_pictures_from_the_annotations_where_no_others_are_named(tmp_path: Path) -> None:
    saved(open_store(str(tmp_path / "set")))
    spec = TrainSpec.model_validate({"annotations": {"uri": str(tmp_path / "set")}, "output": str(tmp_path / "out")})
    with train_places(spec) as (placed, _):
        assert len(list(open_store(placed.annotations.images).list())) == 6
    (tmp_path / "r.csv").write_text("id,score\na,1\n")
    bare = TrainSpec.model_validate({"annotations": {"uri": str(tmp_path / "r.csv")}, "output": str(tmp_path / "out")})
    with pytest.raises(UserError, match="annotations.images is needed too, .* as .*r.csv holds no pictures"), train_places(bare):
        pass

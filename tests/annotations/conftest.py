"""Annotations written as a person writes them, on S3 and in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artquant.annotations import Annotations, read_annotations
from artquant.config import AnnotationSpec
from artquant.storage.store import Store, open_store

Read = Callable[..., Annotations]


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "sent"))


def send(store: Store, **files: str | bytes) -> None:
    """`ratings_csv="..."` becomes the object `ratings.csv`."""
    for name, content in files.items():
        stem, _, extension = name.rpartition("_")
        store.put(f"{stem}.{extension}", content.encode() if isinstance(content, str) else content)


def accounts(annotations: Annotations) -> bool:
    return annotations.num_rows == annotations.table.num_rows + annotations.num_merged + annotations.rejects.num_rows


@pytest.fixture
def read(folder: Store) -> Read:
    """Sends the files to a folder, reads the folder, and holds it to the promise that no row disappears."""

    def read(spec: dict[str, Any] | None = None, **files: str | bytes) -> Annotations:
        send(folder, **files)
        annotations = read_annotations(AnnotationSpec(**{"uri": folder.uri, "max_rejected_fraction": 1.0, **(spec or {})}))
        assert accounts(annotations)
        assert annotations.table.column("artwork_id").to_pylist() == sorted(annotations.table.column("artwork_id").to_pylist())
        return annotations

    return read


def column(annotations: Annotations, name: str) -> list[Any]:
    return annotations.table.column(name).to_pylist()


def refused(annotations: Annotations) -> list[tuple[str, int, str]]:
    return [(row["file"], row["row"], row["reason"]) for row in annotations.rejects.to_pylist()]

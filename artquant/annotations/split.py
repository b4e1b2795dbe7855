"""Which split an artwork belongs to: as its annotators say it, or else a pure function of its content, so that what is added later moves
nothing that was held out. Copies of one picture, and the artworks of one group, are never in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.content import content_digests
from artquant.annotations.copies import Signature, clusters, signatures
from artquant.annotations.read import Annotations, read_annotations
from artquant.config import AnnotationSpec, ResolvedAnnotationSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale, clamp_scores
from artquant.core.schema import ARTWORK_ID, FILE_SPLIT, GROUP, SCORE, SPLIT
from artquant.storage.store import open_store

Split = Literal["train", "validation", "test"]
_HELD: tuple[Split, ...] = ("test", "validation")  # what counts first where the members of a unit differ


def split_of(content: str, seed: int, validation_fraction: float, test_fraction: float) -> Split:
    """Return the split of the artwork whose content has the digest `content`. Two names of the same content are in the same split.

    The test split does not depend on `validation_fraction`, and loses nothing when `test_fraction` rises. Raises UserError if the fractions
    leave nothing to train on.
    """
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise UserError(
            f"annotations.validation_fraction and annotations.test_fraction ({validation_fraction:g} and {test_fraction:g}) "
            "must be at least 0 and stay below 1 together: lower them."
        )
    fraction = int.from_bytes(hashlib.blake2b(f"{seed}:{content}".encode(), digest_size=8).digest(), "big") / 2**64
    if fraction < test_fraction:
        return "test"
    return "validation" if fraction < test_fraction + validation_fraction else "train"


class Artwork(NamedTuple):
    """What decides the split of an artwork: `said` by its annotators, the `group` that must not be cut, its cluster of `copies`."""

    artwork_id: str
    content: str
    said: str | None = None
    group: str | None = None
    copies: int | None = None


def assign(artworks: Sequence[Artwork], seed: int, validation_fraction: float, test_fraction: float) -> dict[str, Split | None]:
    """Return artwork_id -> split.

    Annotators' splits stand. A split that none of them names is drawn from the artworks that they give for training; artworks without a
    split are drawn too: by their group, or else by their content. Artworks that are linked by a group or as copies are in one split, the
    one that is held out if any of them is; one of them that is held out by its annotators leaves the others without a split (None).
    Raises UserError if the fractions leave nothing to train on.
    """
    named = {artwork.said for artwork in artworks}

    def own(artwork: Artwork) -> Split:
        if artwork.said is not None and artwork.said != "train":
            return "test" if artwork.said == "test" else "validation"
        fractions = [
            0.0 if artwork.said and name in named else fraction
            for name, fraction in (("validation", validation_fraction), ("test", test_fraction))
        ]
        return split_of(artwork.content if artwork.group is None else f"group {artwork.group}", seed, *fractions)

    split: dict[str, Split | None] = {}
    for unit in _units(artworks):
        held = next((name for name in _HELD if any(artwork.said == name for artwork in unit)), None)
        drawn = {own(artwork) for artwork in unit}
        together = held or next((name for name in _HELD if name in drawn), "train")
        for artwork in unit:
            split[artwork.artwork_id] = together if held is None or artwork.said == held else None
    return split


def _units(artworks: Sequence[Artwork]) -> list[list[Artwork]]:
    """Return the artworks in sets that nothing links."""
    parent = list(range(len(artworks)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[tuple[str, str | int], int] = {}
    for node, artwork in enumerate(artworks):
        for link in (("content", artwork.content), ("group", artwork.group), ("copies", artwork.copies)):
            if link[1] is not None:
                parent[root(node)] = root(first.setdefault(link, node))  # type: ignore[arg-type]
    units: dict[int, list[Artwork]] = {}
    for node, artwork in enumerate(artworks):
        units.setdefault(root(node), []).append(artwork)
    return list(units.values())


def said_splits(table: pa.Table, spec: AnnotationSpec) -> tuple[str, list[str | None]]:
    """Return where the splits come from (column, file or content), and what is said of each row. Raises UserError if nothing is said."""
    columns = {"column": SPLIT, "file": FILE_SPLIT}
    there = [name for name, column in columns.items() if column in table.column_names and table[column].null_count < len(table)]
    if spec.split in columns and spec.split not in there:
        what = (
            "a column split (train, validation or test)" if spec.split == "column" else "files whose names say it (train.csv, test_set.csv)"
        )
        raise UserError(f"annotations.split={spec.split} needs {what}, and the annotations have none: set annotations.split=content.")
    source = spec.split if spec.split != "auto" else next(iter(there), "content")
    return source, table[columns[source]].to_pylist() if source in columns else [None] * len(table)


class Assigned(NamedTuple):
    """What is known of the annotated artworks that there are, by artwork_id; `source` says where the splits come from."""

    content: dict[str, str]  # digest of the bytes
    split: dict[str, Split | None]  # None: linked to one that the annotators hold out
    signatures: dict[str, Signature]  # of those that could be decoded
    source: str

    @property
    def num_left_out(self) -> int:
        return sum(split is None for split in self.split.values())


def assign_splits(spec: ResolvedAnnotationSpec, table: pa.Table) -> Assigned:
    """Decide the split of all annotated artworks that there are. Raises UserError if there are none."""
    ids, store = table[ARTWORK_ID].to_pylist(), open_store(spec.images)
    source, said = said_splits(table, spec)
    content = content_digests(store, ids)
    if not content:
        raise UserError(f"None of the {len(ids)} annotated artworks, such as {ids[0]}, is below {store.uri}: correct annotations.images.")
    looks = signatures(store, content) if spec.near_copies else {}
    copies = clusters(looks)
    groups = table[GROUP].cast(pa.string()).to_pylist() if GROUP in table.column_names else [None] * len(ids)
    artworks = [
        Artwork(name, content[name], say, group, copies.get(name))
        for name, say, group in zip(ids, said, groups, strict=True)
        if name in content
    ]
    return Assigned(content, assign(artworks, spec.split_seed, spec.validation_fraction, spec.test_fraction), looks, source)


@dataclass(frozen=True)
class Splits:
    """Annotations by what they are for; scores lie within the levels. `content`: artwork_id -> digest of its bytes."""

    train: pa.Table
    validation: pa.Table
    test: pa.Table
    content: dict[str, str]
    signatures: Mapping[str, Signature]
    annotations: Annotations
    source: str  # of the splits: column, file or content
    num_clamped: int
    num_missing: int  # annotated, but there is no such picture
    num_left_out: int  # linked to an artwork that the annotators hold out


def split_annotations(spec: ResolvedAnnotationSpec) -> Splits:
    """Read the annotations, clamp their scores and split them. Raises UserError.

    The same picture under two names is never in two splits, and old rows stay where they are when new ones are added, but that a picture
    moves to the held-out ones with a copy of it that falls there.
    """
    annotations = read_annotations(spec)
    table = annotations.table
    scores, num_clamped = clamp_scores(table.column(SCORE).to_numpy(zero_copy_only=False), Scale(tuple(spec.level_values)))
    table = table.set_column(table.schema.get_field_index(SCORE), SCORE, pa.array(scores, pa.float64(), from_pandas=True))
    found = assign_splits(spec, table)
    assigned = pa.array([found.split.get(artwork_id) for artwork_id in table.column(ARTWORK_ID).to_pylist()], pa.string())
    train, validation, test = (table.filter(pc.equal(assigned, name)) for name in ("train", "validation", "test"))
    return Splits(
        train,
        validation,
        test,
        found.content,
        found.signatures,
        annotations,
        found.source,
        num_clamped,
        len(table) - len(found.content),
        found.num_left_out,
    )

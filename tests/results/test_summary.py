"""A summary is a function of the set of rows: no split, order or merge changes it."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from artquant.core.schema import LEVELS, reject_schema, score_schema
from artquant.records.run import GROUPS
from artquant.results.summary import Summary
from artquant.results.thumbnails import with_thumbnails
from tests.report.sample import LEVEL_VALUES, reject_rows, score_rows


def take(rows, indices):
    return {name: [column[index] for index in indices] for name, column in rows.items()}


def summed(batches, reject_batches=(), **sizes):
    summary = Summary(LEVEL_VALUES, **sizes)
    for rows in batches:
        summary.add_scores(rows)
    for rows in reject_batches:
        summary.add_rejects(rows)
    return summary


@pytest.mark.parametrize("seed", range(12))
def test_any_split_order_and_merge_tree_gives_the_same_findings(seed):
    rows, rejects = score_rows(300), reject_rows(60)
    expected = summed([rows], [rejects]).result()
    random = np.random.default_rng(seed)
    order, reject_order = random.permutation(300), random.permutation(60)
    cuts, reject_cuts = np.sort(random.integers(0, 301, 9)), np.sort(random.integers(0, 61, 9))
    parts = [
        summed([take(rows, indices)], [take(rejects, reject_indices)])
        for indices, reject_indices in zip(np.split(order, cuts), np.split(reject_order, reject_cuts), strict=True)
    ]
    while len(parts) > 1:
        first, second = (parts.pop(int(random.integers(len(parts)))) for _ in range(2))
        first.merge(pickle.loads(pickle.dumps(second)))
        parts.append(first)
    assert parts[0].result() == expected


def test_tied_scores_are_kept_by_artwork_id_whatever_comes_first():
    rows = score_rows(40)
    rows.update(score=np.full(40, 5.0), entropy=np.full(40, 1.0))
    backwards = take(rows, range(39, -1, -1))
    for batches in ([rows], [backwards], [take(backwards, range(0, 20)), take(backwards, range(20, 40))]):
        gallery = summed(batches, max_works=3).result().gallery
        first = sorted(rows["artwork_id"])
        shown = {group: [work.artwork_id for work in gallery[group]] for group in GROUPS}
        assert shown == {"best": first[:3], "worst": first[3:6], "middling": first[6:9], "most uncertain": first[:3]}


@pytest.mark.parametrize("num_scored", [2, 9, 20, 500])
def test_best_middling_and_worst_share_no_artwork(num_scored: int):
    gallery = summed([score_rows(num_scored)]).result().gallery
    shown = [work.artwork_id for group in ("best", "middling", "worst") for work in gallery[group]]
    assert len(shown) == len(set(shown)) == min(num_scored, 24)


def test_findings_agree_with_numpy_on_the_whole_table():
    rows = score_rows(500)
    findings = summed([rows], [reject_rows(50)]).result()
    scores, entropies = rows["score"], rows["entropy"]
    assert findings.num_scored == 500 and findings.num_rejected == 50
    assert findings.num_needs_review == np.count_nonzero(rows["needs_review"]) > 0
    assert findings.critiques_by_status == {"ok": 487, "looping": 13}
    assert findings.mean_score == pytest.approx(scores.mean(), abs=1e-5)
    assert findings.score_spread == pytest.approx(scores.std(), abs=1e-5)
    counts, _ = np.histogram(scores, findings.histogram_edges)
    assert np.array_equal(np.sum(list(findings.histogram.values()), axis=0), counts)
    assert findings.histogram_edges[0] == 1.0 and findings.histogram_edges[-1] == 10.0 and len(findings.histogram_edges) == 37
    assert findings.level_counts == {level: rows["level"].count(level) for level in LEVELS}
    keys = {"best": -scores, "middling": abs(scores - 5.0), "worst": scores, "most uncertain": -entropies}
    for group in GROUPS:
        order = sorted(range(500), key=lambda row, group=group: (keys[group][row], rows["artwork_id"][row]))
        assert [work.artwork_id for work in findings.gallery[group]] == [rows["artwork_id"][row] for row in order[:8]]


def test_each_artwork_of_the_gallery_gets_its_own_thumbnail_made_once():
    asked = []
    findings = with_thumbnails(summed([score_rows(9)]).result(), lambda work: asked.append(work.artwork_id) or work.artwork_id.encode())
    assert len(asked) == len(set(asked)) == 9  # of 4 groups of 8
    assert all(work.thumbnail == work.artwork_id.encode() for works in findings.gallery.values() for work in works)


def test_its_size_does_not_grow_with_the_rows():
    summary = Summary(LEVEL_VALUES)
    sizes = []
    for seed in range(12):
        summary.add_scores(score_rows(500, seed))
        summary.add_rejects(reject_rows(500, seed))
        sizes.append(len(pickle.dumps(summary)))
    assert sizes[-1] < 60_000
    tracemalloc.start()
    for seed in range(12, 18):
        summary.add_scores(score_rows(500, seed))
        summary.add_rejects(reject_rows(500, seed))
    assert tracemalloc.get_traced_memory()[0] < 1_000_000
    tracemalloc.stop()


def test_scores_beyond_the_scale_by_rounding_fall_in_the_end_bins():
    rows = score_rows(2)
    rows["score"] = np.array([1 - 1e-12, 10 + 1e-12])
    totals = np.sum(list(summed([rows]).result().histogram.values()), axis=0)
    assert totals[0] == 1 and totals[-1] == 1


@pytest.mark.parametrize(("column", "value"), [("score", np.nan), ("score_std", np.inf)])
def test_a_score_that_is_not_finite_is_refused_and_counts_nothing(column, value):
    rows = score_rows(3)
    rows[column][1] = value
    summary = Summary(LEVEL_VALUES)
    with pytest.raises(ValueError, match="not finite"):
        summary.add_scores(rows)
    assert summary.result() == Summary(LEVEL_VALUES).result()


def test_summaries_of_different_scales_do_not_merge():
    with pytest.raises(ValueError, match="do not merge"):
        Summary(LEVEL_VALUES).merge(Summary((5.0, 4.0, 3.0, 2.0, 1.0)))


def test_an_empty_batch_and_an_empty_summary_change_nothing():
    summary = summed([score_rows(20)])
    before = summary.result()
    summary.add_scores(take(score_rows(20), []))
    summary.merge(Summary(LEVEL_VALUES))
    assert summary.result() == before
    assert Summary(LEVEL_VALUES).result().mean_score is None


def test_the_sample_rows_use_the_schema_s_columns():
    assert set(score_rows(1)) <= set(score_schema().names) and set(reject_rows(1)) <= set(reject_schema().names)


def test_rejects_are_counted_by_class_with_a_few_examples_of_each():
    rejects = reject_rows(200)
    findings = summed([], [rejects], max_examples=2).result()
    assert findings.rejects_by_class == {name: rejects["reject_class"].count(name) for name in ("missing", "truncated", "not_an_image")}
    assert list(findings.rejects_by_class) == ["missing", "truncated", "not_an_image"]
    assert [example.reject_class for example in findings.reject_examples] == ["missing"] * 2 + ["not_an_image"] * 2 + ["truncated"] * 2

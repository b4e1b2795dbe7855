"""The page says what happened, and no text in it is ever more than text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import re
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.core import format
from artquant.core.schema import RejectClass, score_schema
from artquant.images.square import Picture, thumbnail
from artquant.records.run import THUMBNAIL_SIZE, Findings, OutputFile, RejectExample
from artquant.report import words
from artquant.report.page import MAX_FILES, render
from artquant.report.text import visible
from artquant.results.summary import Summary
from artquant.results.thumbnails import with_thumbnails
from tests.report import sample
from tests.report.outline import Outline
from tests.report.sample import EMPTY


def test_a_very_long_name_is_shortened_in_its_middle():
    page = render(sample.hostile_report("a" * 2500 + "b" * 2500))
    assert len(Outline(page).text) < 400_000
    assert re.search("a+…b+", page)


def test_credentials_in_a_uri_are_not_shown():
    message = "GET https://h/x?X-Amz-Signature=abcdef&y=1"
    signed = "https://h/" + "x" * 300 + "?X-Amz-Signature=" + "facade" * 50
    page = render(sample.report(input_uri="s3://keyid:hushhush@bucket/x", output_uri=signed, message=message, status="failed"))
    assert (
        "facade" not in page
        and "hushhush" not in page
        and "keyid" not in page
        and "abcdef" not in page
        and "s3://…@bucket" in Outline(page).text
    )


def test_letters_of_any_script_pass_and_joined_emoji_stay_joined():
    for text in ("Ночь, гуашь", "夜景.jpg", "منظر ليلي", "می‌خواهم", "👩‍🎨", "Café — “Zoë”"):
        assert visible(text) == text


def test_the_policy_allows_the_page_s_own_style_and_data_images_alone():
    page = render(sample.report())
    policy = next(attrs["content"] for tag, attrs in Outline(page).tags if attrs.get("http-equiv") == "Content-Security-Policy")
    style = re.search("<style>(.*?)</style>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    assert " style=" not in page and "@import" not in style and "url(" not in style


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "412 artworks scored, 3 rejected, in 1 min 12 s."),
        ({"num_reused": 20}, "412 artworks scored, 3 rejected, 20 reused, in 1 min 12 s."),
        ({"num_planned": 1, "num_scored": 1, "num_rejected": 0}, "1 artwork scored, 0 rejected, in 1 min 12 s."),
        ({"num_planned": 0, "num_scored": 0, "num_rejected": 0}, "Nothing was due: every artwork already has its score."),
        ({"num_planned": 12, "num_scored": 0, "num_rejected": 12}, "No artwork could be scored: 12 artworks rejected, in 1 min 12 s."),
        ({"num_planned": 9, "num_scored": 0, "num_rejected": 0, "num_reused": 9}, "0 artworks scored, 0 rejected, 9 reused"),
        ({"status": "failed", "message": "Too many rejects."}, "The run failed after 1 min 12 s. Nothing of it was published"),
    ],
)
def test_the_headline_says_how_the_run_ended(changes, sentence):
    report = sample.report(findings=EMPTY, **changes)
    assert words.headline(report).startswith(sentence)
    text = Outline(render(report)).text
    assert sentence in text and (report.message or "") in text


def test_the_balance_is_ticked_only_where_it_adds_up():
    assert "✓" in Outline(render(sample.report())).text
    reused = Outline(render(sample.report(num_reused=63))).text  # it was not planned, so it is no part of the sum
    assert "✓" in reused and "415\xa0planned = 412\xa0scored + 3\xa0rejected; 63\xa0reused" in reused and "too many" not in reused
    short, long = (Outline(render(sample.report(num_planned=planned))).text for planned in (420, 414))
    assert "✓" not in short and "5 artworks not accounted for" in short
    failed = Outline(render(sample.report(num_planned=420, status="failed"))).text
    assert "✓" not in failed and "5 artworks not reached" in failed
    assert "✓" not in long and "1 row too many" in long


def test_a_failed_run_leads_with_its_cause_and_claims_no_published_row():
    page = render(sample.report(status="failed", message="Too many rejects.", files=[]))
    outline = Outline(page)
    assert "✓" not in outline.text and "The highest of this run" not in outline.text
    assert page.index('id="rejects"') < page.index('id="scores"') and page.count('id="rejects"') == 1
    assert "Each is a row in rejects.parquet, beside this page" in outline.text and "scores/*" not in outline.text
    published = render(sample.report())
    assert published.index('id="rejects"') > published.index('id="gallery"') and "Each is a row in rejects/." in Outline(published).text


def test_a_failed_runs_query_reads_its_rejects(tmp_path):
    (tmp_path / "runs" / "night").mkdir(parents=True)
    rejects = {"artwork_id": ["b", "a"], "reject_class": ["empty", "empty"]}
    pq.write_table(pa.table(rejects), tmp_path / "runs" / "night" / "rejects.parquet")
    page = render(sample.report(status="failed", message="no", run_id="night", output_uri=tmp_path.as_uri()))
    query = html.unescape(re.search('<pre class="query"[^>]*><code>(.*?)</code>', page, re.S).group(1))
    duckdb = pytest.importorskip("duckdb")
    assert duckdb.sql(query.strip().rstrip(";")).fetchall() == [("a", "empty"), ("b", "empty")]


def test_a_run_without_scores_says_so_in_every_section():
    text = Outline(render(sample.report(findings=EMPTY, num_scored=0, num_rejected=0, num_planned=0, files=[], stages=[], reasons={}))).text
    for sentence in ("No score to draw.", "The walls are bare", "None.", "This run published no file."):
        assert sentence in text


def test_a_small_run_shows_each_artwork_once():
    page = render(sample.report(findings=sample.findings(num_scored=5)))
    assert page.count('<li class="card">') == 5 and "every artwork" in page
    assert render(sample.report()).count('<li class="card">') == 32


def test_charts_of_a_part_of_the_run_say_so():
    assert "Drawn from 300 of the 412" in Outline(render(sample.report(findings=sample.findings(num_scored=300)))).text
    assert "Drawn from" not in Outline(render(sample.report())).text


def test_a_reject_class_shows_what_it_means_and_whether_it_is_tried_again():
    text = Outline(render(sample.report())).text
    assert "gone when it was fetched. The next run tries again." in text
    assert set(words.REJECT_MEANINGS) == set(RejectClass)
    examples = [RejectExample("a", "novel", "why")]
    unknown = dataclasses.replace(EMPTY, num_rejected=1, rejects_by_class={"novel": 1}, reject_examples=examples)
    assert "novel" in Outline(render(sample.report(findings=unknown))).text


def test_many_files_are_cut_and_their_sum_is_not():
    files = [OutputFile(f"part-{number:05}.parquet", 10, 1_000_000) for number in range(500)]
    text = Outline(render(sample.report(files=files))).text
    assert text.count("part-0") == MAX_FILES and "500 files" in text and "5,000" in text and "500 MB" in text


def test_thirty_two_noisy_thumbnails_stay_below_a_megabyte_and_a_half():
    random = np.random.default_rng(0)
    rows = sample.score_rows(200)
    rows.update(perception=["w" * 5000] * 200, cognition=["w" * 5000] * 200, emotion=["w" * 5000] * 200)
    summary = Summary(sample.LEVEL_VALUES)
    summary.add_scores(rows)
    noisy = thumbnail(Picture(random.integers(0, 256, (448, 448, 3), np.uint8), 448, 448), THUMBNAIL_SIZE)
    page = render(sample.report(findings=with_thumbnails(summary.result(), lambda work: noisy)))
    assert page.count('<li class="card">') == 32 and len(page.encode()) < 1_500_000


def test_bytes_that_are_no_jpeg_are_never_shown_as_a_picture():
    findings: Findings = sample.findings(num_scored=3)
    works = [dataclasses.replace(work, thumbnail=b"<svg onload=alert(1)>") for work in findings.gallery["best"]]
    page = render(sample.report(findings=dataclasses.replace(findings, gallery={"best": works})))
    assert "<img" not in page and "no picture kept" in page


def test_the_queries_run_in_duckdb_as_they_stand(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    root = tmp_path / "it's a museum"
    folder = root / "scores" / "model=m" / "run_date=2026-11-21"
    folder.mkdir(parents=True)
    rows = sample.score_rows(30)
    defaults = {"run_id": ["it's"] * 30, "scored_at": [sample.report().started_at] * 30}
    table = pa.table({name: (rows | defaults).get(name, [None] * 30) for name in score_schema().names}, schema=score_schema())
    pq.write_table(table, folder / "part-0.parquet")
    pq.write_table(table.slice(0, 10), folder / "part-1.parquet")
    page = render(sample.report(output_uri=root.as_uri(), run_id="it's"))
    queries = html.unescape(re.search('<pre class="query"[^>]*><code>(.*?)</code>', page, re.S).group(1)).split(";")
    with duckdb.connect() as connection:
        best, latest = (connection.sql(query).to_arrow_table() for query in queries[:2])
    assert best.num_rows == 20 and best["score"][0].as_py() == rows["score"].max() and latest.num_rows == 30


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (72, "1 min 12 s"),
        (3599.7, "1 h 00 min"),
        (7170, "2 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations_never_show_sixty_of_anything(seconds, expected):
    assert format.duration(seconds) == expected
    assert words.headline(sample.report(findings=EMPTY, finished_at=sample.report(findings=EMPTY).started_at + timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [(0, "0 B"), (999, "999 B"), (4120, "4.1 kB"), (999_600, "1.0 MB"), (184_211_000, "184 MB"), (3e15, "3,000 TB")],
)
def test_sizes_are_read_at_a_glance(num_bytes, expected):
    assert format.file_size(num_bytes) == expected


def test_the_page_says_what_became_of_critiques_and_whether_the_model_was_checked():
    page = visible_text(sample.report(is_model_checked=True))
    assert "401 ok, 11 looping" in page and "golden set scored as expected" in page
    page = visible_text(sample.report(findings=EMPTY, is_model_checked=False))
    assert "looping" not in page and "not checked: the model has no golden set" in page
    assert "no engine was opened" in visible_text(sample.report())


def visible_text(run) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", render(run)))

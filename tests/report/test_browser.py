"""What a real browser makes of the page, at desk and phone width.

The page itself may run no script, so another page holds it in a frame, measures it from outside and writes down what it saw.
"""

from __future__ import annotations

import functools
import html
import io
import json
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from artquant.report.evaluation_page import render_evaluation
from artquant.report.page import render
from artquant.report.shadow_page import render_shadow
from artquant.report.training_page import render_training
from tests.report import sample, studies
from tests.report.test_every_page import HOSTILE

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the path")

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

MEASURE = """<!DOCTYPE html><body><pre id="seen">{}</pre><script>
const seen = {}, names = %s, widths = [1280, 390];
const load = (name, width) => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.onload = () => setTimeout(() => {
    const page = frame.contentDocument, all = [...page.body.querySelectorAll("*")];
    for (const picture of page.images) picture.loading = "eager";
    for (const fold of page.querySelectorAll("details")) fold.open = true;
    setTimeout(() => {
      seen[`${name} ${width}`] = {
        overflow: page.documentElement.scrollWidth - width,
        narrowest: Math.min(...[...page.querySelectorAll("p, h3, h4, th, td, dd")]
          .filter(e => e.offsetWidth > 1 && e.innerText.length > 8).map(e => e.offsetWidth)),
        pictures: page.images.length,
        painted: [...page.images].filter(picture => picture.complete && picture.naturalWidth > 0 && picture.clientWidth > 20).length,
        distorted: [...page.images].filter(p => Math.abs(p.clientWidth / p.clientHeight - p.naturalWidth / p.naturalHeight) > 0.15).length,
        scripts: page.scripts.length,
        handlers: all.filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).length,
        links: [...page.links].filter(link => link.getAttribute("href")[0] !== "#").length,
        fetched: frame.contentWindow.performance.getEntriesByType("resource")
          .map(entry => entry.name).filter(url => !url.startsWith("data:")),
        paper: getComputedStyle(page.body).backgroundColor,
        title: page.title, alerted: Boolean(window.alerted || frame.contentWindow.alerted),
      };
      frame.remove(); done();
    }, 150);
  }, 50);
  frame.src = name; document.body.append(frame);
});
(async () => { for (const name of names) for (const width of widths) await load(name, width);
  document.getElementById("seen").textContent = JSON.stringify(seen); })();
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages by name, served on loopback, and a function that runs chromium on one of them."""
    folder = tmp_path_factory.mktemp("pages")
    reports = {
        "run.html": sample.report(),
        "failed.html": sample.report(findings=sample.EMPTY, status="failed", num_scored=0, message="31 of 100 rejected.", files=[]),
        "hostile.html": sample.hostile_report("".join(HOSTILE).replace("</style>", "")),
        "long.html": sample.hostile_report("n" * 5000),
    }
    hostile = "".join(HOSTILE).replace("</style>", "")
    made = {name: render(report) for name, report in reports.items()} | {
        "training.html": render_training(studies.training()),
        "training-hostile.html": render_training(studies.hostile_training(hostile)),
        "evaluation.html": render_evaluation(studies.evaluation()),
        "evaluation-hostile.html": render_evaluation(studies.hostile_evaluation(hostile)),
        "shadow.html": render_shadow(studies.shadow()),
        "shadow-hostile.html": render_shadow(studies.hostile_shadow(hostile)),
    }
    for name, page in made.items():
        (folder / name).write_text(page)
    (folder / "measure.html").write_text(MEASURE % json.dumps(list(made)))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def browse(name: str, *options: str) -> str:
            profile = tmp_path_factory.mktemp("profile")
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *options, url]
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout

        yield browse
        server.shutdown()


@pytest.fixture(scope="module")
def seen(pages):
    dom = pages("measure.html", "--virtual-time-budget=30000", "--dump-dom")
    found = json.loads(html.unescape(re.search('<pre id="seen">(.*?)</pre>', dom, re.S).group(1)))
    assert len(found) == 20
    return found


def test_nothing_is_wider_than_the_window_nor_squeezed_to_a_letter_a_line(seen):
    assert {name: view["overflow"] for name, view in seen.items() if view["overflow"] > 0} == {}
    assert all(view["narrowest"] > 60 for view in seen.values())


def test_every_picture_is_painted_in_its_own_proportions(seen):
    assert [seen[f"{name}.html 1280"]["pictures"] for name in ("run", "evaluation", "shadow")] == [33, 8, 6]
    assert all(view["painted"] == view["pictures"] and view["distorted"] == 0 for view in seen.values())


def test_hostile_text_runs_nothing_and_links_nowhere(seen):
    for view in seen.values():
        assert (view["scripts"], view["handlers"], view["links"], view["alerted"]) == (0, 0, 0, False)
        assert view["title"].endswith("ArtQuant")


def test_the_page_fetches_nothing(seen):
    assert all(view["fetched"] == [] for view in seen.values())


def test_the_style_sheet_passes_the_page_s_own_policy(seen):
    assert {view["paper"] for view in seen.values()} == {"rgb(246, 243, 236)"}


def test_at_night_the_paper_is_dark(pages, tmp_path):
    brightness = {}
    for scheme in (0, 1):
        picture = tmp_path / f"{scheme}.png"
        pages("run.html", f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1280,900", f"--screenshot={picture}")
        brightness[scheme] = np.median(np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("L")))
    assert brightness[0] < 40 and brightness[1] > 220

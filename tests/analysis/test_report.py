"""The report: one page, complete, that asks nothing of the network."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.parquet import read_all
from analysis.plots.gallery import Entry
from analysis.report import POLICY, build_page
from analysis.statements import CLAIMS
from tests.conftest import PATIENCE_S

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    """The page, and how many figures pyplot held whenever one was drawn for it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    open_at_once = [len(plt.get_fignums())]
    plain = Entry.pictures

    def pictures(self, frame):
        open_at_once.append(len(plt.get_fignums()))
        return plain(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Entry, "pictures", pictures)
        assert main(["report", "--results", str(results), "--output", str(path)]) == 0
    return path, open_at_once


@pytest.fixture(scope="module")
def page(written):
    return written[0]


class Reader(HTMLParser):
    """Collects addresses, ids and whether tags are closed."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        found = dict(attrs)
        self.addresses += [found[k] for k in ("src", "href") if k in found]
        self.ids += [found["id"]] if "id" in found else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_self_contained(page):
    reader = Reader()
    reader.feed(page.read_text())
    assert reader.open == []
    for address in reader.addresses:
        assert address.startswith(("data:", "#")), address[:60]
        if address.startswith("#"):
            assert address[1:] in reader.ids
    assert "<script" not in page.read_text()
    assert "@import" not in page.read_text()
    assert "default-src 'none'" in page.read_text()


def test_claims_come_first_and_provenance_last(page):
    text = page.read_text()
    places = [text.index(f'<h2 id="{name}"') for name in
              ("claims", "figures", "costs", "runs", "provenance")]  # fmt: skip
    assert places == sorted(places)
    assert all(f'id="{claim.id}"' in text for claim in CLAIMS)
    assert text.count("<img") == text.count("<figure") >= 11


def test_equal_tables_give_equal_pages(results):
    frame = read_all(results)
    first = build_page(frame, pictures=False)
    assert first == build_page(
        frame.sample(fraction=1, shuffle=True, seed=1), pictures=False
    )
    assert " finished runs, 0 of them trials of learning rates; models of" in first


def test_any_number_of_settings_is_drawn_without_a_word_on_open_figures(written):
    """Every picture is held until the page is written, but none by pyplot."""
    path, (before, *open_at_once) = written
    assert path.read_text().count("<img") > 0
    assert set(open_at_once) == {before}


def test_text_of_runs_is_escaped(results):
    frame = read_all(results)
    bad = frame.with_columns(problem=pl.lit("<b>&oops"))
    assert "&lt;b&gt;&amp;oops" in build_page(bad, pictures=False)
    assert "<b>&oops" not in build_page(bad, pictures=False)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium to render the page")
@pytest.mark.parametrize("width", [390, 1100])
def test_browser_shows_it_without_network_or_errors(page, tmp_path, width):
    picture = tmp_path / "page.png"
    # An added script reports how wide the page is; the page itself has none.
    probe = tmp_path / "probe.html"
    script = (
        "<script>addEventListener('load',()=>{document.title='width '+"
        "document.documentElement.scrollWidth+' images '+"
        "[...document.images].filter(i=>i.naturalWidth>0).length})</script></body>"
    )
    allowed = POLICY + "; script-src 'unsafe-inline'"
    text = page.read_text().replace(POLICY, allowed)
    probe.write_text(text.replace("</body>", script))
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600",
            "--enable-logging=stderr", "--dump-dom",
            "--virtual-time-budget=2000", f"--screenshot={picture}", probe.as_uri(),
        ],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    title = re.search(r"<title>width (\d+) images (\d+)", done.stdout)
    assert title, done.stdout[:500]
    assert int(title[2]) == text.count("<img"), "every figure is decoded"
    assert int(title[1]) <= max(width, 500), "no sideways scrolling"
    # The page's policy forbids every request; an attempt would be a console message.
    assert "CONSOLE" not in done.stderr

"""The report in a real browser: nothing scrolls sideways, nothing complains, dark is dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from allograft.report.write import render
from synthetic_pretexts import synthetic_pretexts
from synthetic_summary import synthetic_summary

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip
MEASURE = """
const inner = this.contentDocument, view = this.contentWindow, wide = view.innerWidth;
const held = node => node.closest(".scroll, pre, .unseen, .skip, svg");
const out = [...inner.body.querySelectorAll("*")].filter(n => !held(n) && n.getBoundingClientRect().right > wide + 1);
const look = view.getComputedStyle(inner.body);
const small = [...inner.querySelectorAll(".drawing svg text")].filter(t => t.getBoundingClientRect().height)
  .map(t => [parseFloat(view.getComputedStyle(t).fontSize) * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b),
             t.textContent]).sort((a, b) => a[0] - b[0]);
document.title = JSON.stringify({wide, scroll: inner.documentElement.scrollWidth, back: look.backgroundColor,
  out: out.map(n => n.outerHTML.slice(0, 80)), small: small.slice(0, 3),
  buttons: inner.querySelectorAll("th button").length});
"""
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium found on this machine")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(synthetic_summary(pretexts=synthetic_pretexts(tmp_path_factory.mktemp("pretexts"))))


def run(folder: Path, *flags: str) -> tuple[str, str]:
    """Run the browser with a fresh profile; return what it wrote, and its log."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def framed(folder: Path, page: str, width: int, height: int, *, dark: bool) -> str:
    """Write a file that shows the page in a frame of exactly this width (a window cannot be that narrow)."""
    scheme = "dark" if dark else "light"
    frame = f'<iframe srcdoc="{html.escape(page)}" onload="{html.escape(MEASURE)}"></iframe>'
    style = f"body{{margin:0}}iframe{{border:0;width:{width}px;height:{height}px}}"
    file = folder / "frame.html"
    meta = f'<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="{scheme}"><style>{style}</style>'
    file.write_text(meta + frame, encoding="utf-8")
    return file.as_uri()


def measured(folder: Path, page: str, width: int, *, dark: bool) -> dict[str, object]:
    uri = framed(folder, page, width, 900, dark=dark)
    text, log = run(folder, f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", uri)
    assert "CONSOLE" not in log, log
    title = re.search(r"<title>(.*?)</title>", text)
    assert title, text[:500]
    return dict(json.loads(html.unescape(title[1])))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_synthetic_report_fits(tmp_path: Path, page: str, width: int, dark: bool) -> None:
    found = measured(tmp_path, page, width, dark=dark)
    assert found["wide"] == width
    assert isinstance(found["scroll"], int)
    assert found["scroll"] <= width
    assert found["out"] == []
    assert found["back"] == ("rgb(20, 23, 26)" if dark else "rgb(253, 252, 250)")
    assert isinstance(found["small"], list)
    assert found["small"][0][0] >= 8.9, found["small"]
    assert found["buttons"], "the script did not run: its hash does not match the policy"


def test_measure_can_say_no(tmp_path: Path, page: str) -> None:
    broken = page.replace("</main>", '<p style="width:900px">too wide</p></main>')
    found = measured(tmp_path, broken, 390, dark=False)
    assert found["out"]
    assert isinstance(found["scroll"], int)
    assert found["scroll"] > 390


def test_unknown_script_is_refused(tmp_path: Path, page: str) -> None:
    file = tmp_path / "injected.html"
    file.write_text(page.replace("</main>", "<script>document.title = 'owned'</script></main>"), encoding="utf-8")
    text, log = run(tmp_path, "--dump-dom", file.as_uri())
    assert "<title>owned" not in text
    assert "Content Security Policy" in log


def test_screenshots_differ_in_light_and_dark(tmp_path: Path, page: str) -> None:
    means = []
    for dark in (False, True):
        uri, shot = framed(tmp_path, page, 390, 3000, dark=dark), tmp_path / f"{dark}.png"
        run(tmp_path, f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=500,3000",
            f"--screenshot={shot}", uri)  # fmt: skip
        with Image.open(shot) as image:
            grey = image.convert("L").crop((0, 0, 390, 2800))
            levels = grey.histogram()
        means.append(sum(i * n for i, n in enumerate(levels)) / sum(levels))
        assert sum(1 for n in levels if n) > 40, "the page is empty"
    assert means[0] > 200
    assert means[1] < 60

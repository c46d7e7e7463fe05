"""The labelling page in a real browser, worked by real key events: real pictures, and a synthetic volume."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from skimage import data

from allograft.web.journal import Journal
from allograft.web.labelling import LabelServer
from chromium_pipe import CHROMIUM, Browser

CLASSES = ("grass", "gravel", "brick")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium found on this machine")]


def questions(folder: Path) -> list[dict[str, str]]:
    """Write three real pictures and a synthetic volume whose slices grow brighter."""
    rows = []
    for name in CLASSES:
        path = folder / f"Mustermann-{name}.png"
        Image.fromarray(getattr(data, name)()[:200, :300]).save(path)
        rows.append({"case": f"Mustermann-{name}", "path": str(path), "key": "", "row": ""})
    volume = np.tile(np.arange(9, dtype=np.float32), (12, 16, 1))
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "Mustermann.nii.gz")
    rows.append({"case": "Mustermann-volume", "path": str(folder / "Mustermann.nii.gz"), "key": "", "row": ""})
    return rows


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabelServer]:
    made = LabelServer(Journal(tmp_path / "labels.csv", questions(tmp_path), CLASSES))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()
    made.journal.close()


def on_disk(server: LabelServer) -> list[str]:
    with server.journal.out.open(newline="") as file:
        return [row["label"] for row in csv.DictReader(file)]


def test_a_person_labels_with_the_keyboard(server: LabelServer, tmp_path: Path) -> None:  # noqa: PLR0915
    def at(number: int) -> str:
        return f"document.body.dataset.state === 'ready' && state.at === {number} && !state.saving"

    with Browser(tmp_path / "profile") as page:
        page.open(server.url)
        page.wait(f"document.readyState === 'complete' && {at(0)}")
        assert page.value("document.getElementById('image').naturalWidth") == 300
        assert "Mustermann" not in page.value("document.documentElement.outerHTML")
        page.press("1")
        page.wait(at(1))
        assert on_disk(server) == ["grass", "", "", ""]
        page.press("3")  # wrong
        page.wait(at(2))
        page.press("u")
        page.wait(f"{at(1)} && !state.labels[1]")
        assert on_disk(server) == ["grass", "", "", ""]
        page.press("2")
        page.wait(at(2))
        page.press("ArrowLeft")
        page.wait(at(1))
        buttons = "[...document.querySelectorAll('#classes button')]"
        pressed = f"{buttons}.findIndex(b => b.getAttribute('aria-pressed') === 'true')"
        assert page.value(pressed) == 1
        page.press("ArrowRight")
        page.wait(at(2))
        page.press("b")  # the initial of brick alone
        page.wait(f"{at(3)} && state.slices === 9")
        assert on_disk(server) == ["grass", "gravel", "brick", ""]
        assert "3 of 4" in page.value("document.getElementById('count').textContent")
        middle = page.value("document.getElementById('image').src")
        page.press("ArrowUp")
        page.wait(f"{at(3)} && state.place === 5")
        assert page.value("document.getElementById('image').src") != middle
        page.shoot(tmp_path / "page.png")
        page.press("Backspace")
        page.wait(f"{at(2)} && !state.labels[2]")
        assert on_disk(server) == ["grass", "gravel", "", ""]
        page.press("3")
        page.wait(at(3))
        page.press("2")
        page.wait("document.getElementById('count').textContent.startsWith('all 4')")
        assert page.complaints == []
    assert on_disk(server) == ["grass", "gravel", "brick", "gravel"]
    with Image.open(tmp_path / "page.png") as shot:
        assert np.asarray(shot.convert("L"))[100:700, 50:850].max() > 100, "the image is drawn"


def test_an_answer_that_was_not_kept_is_said_and_not_shown_as_kept(server: LabelServer, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as page:
        page.open(server.url)
        page.wait("document.readyState === 'complete' && document.body.dataset.state === 'ready'")
        server.shutdown()
        server.server_close()
        page.value("fetch = () => Promise.reject(new Error('gone'))")
        page.press("1")
        page.wait("!document.getElementById('trouble').hidden")
        assert "Not saved" in page.value("document.getElementById('trouble').textContent")
        assert page.value("state.at") == 0
        assert page.value("state.labels[0]") == ""
        page.shoot(tmp_path / "trouble.png")
    assert on_disk(server) == [""] * 4

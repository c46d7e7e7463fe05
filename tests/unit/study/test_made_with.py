"""What weights were made with: found by the content of images, silent about names, handed on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allograft.data.cohort import Cohort
from allograft.data.image_cohort import open_images
from allograft.study.made_with import ImagesSeen, MadeWith, image_contents, made_with
from allograft.weights.card import WeightSource


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    """Synthetic pictures of four people."""
    monkeypatch.setenv("ALLOGRAFT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / f"Mustermann{number}.png")
    return open_images(folder)


def card(folder: Path) -> WeightSource:
    reference = {"title": "own"}
    return WeightSource(
        name="w", title="w", origin=f"run:{folder}", license="own", commercial=True, reference=reference, encoder="x"
    )


def test_images_are_known_by_content_whatever_they_are_called(images: Cohort, tmp_path: Path) -> None:
    contents = image_contents(images)
    first, second, third, fourth = images.ids
    seen = ImagesSeen.of(["scans"], [*contents[first], *contents[second]], contents[third])
    made = MadeWith(seen=(seen,))
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in images.ids:
        (copy / f"anon-{name[-5:]}").write_bytes(images[name].image[0].path.read_bytes())
    found = made.cases_seen(image_contents(open_images(copy)))
    assert found == {"anon-0.png", "anon-1.png"}
    assert made.cases_seen({third: contents[third], fourth: contents[fourth]}) == set()
    assert made.data_known_by_image({third: contents[third]}) == {"scans"}
    assert made.data_known_by_image({fourth: contents[fourth]}) == set()


def test_records_name_nobody_and_are_the_same_for_the_same_images(images: Cohort, tmp_path: Path) -> None:
    held = [one for each in image_contents(images).values() for one in each]
    seen = ImagesSeen.of(["scans"], held, [])
    assert seen == ImagesSeen.of(["scans"], reversed(held), [])
    assert not any(one.split()[0] in seen.model_dump_json() for one in held)
    MadeWith(groups=("0a",), seen=(seen,)).write(tmp_path)
    text = (tmp_path / "made-with.json").read_text()
    assert "Mustermann" not in text
    assert made_with(card(tmp_path)) == MadeWith(groups=("0a",), seen=(seen,))


def test_the_past_is_joined_and_runs_without_images_keep_their_plain_list(tmp_path: Path) -> None:
    one = ImagesSeen.of(["a"], ["x"], [])
    both = MadeWith(cases=("1",), seen=(one,)) | MadeWith(cases=("2",), groups=("g",), seen=(one,))
    assert both == MadeWith(cases=("1", "2"), groups=("g",), seen=(one,))
    run = tmp_path / "runs" / "a"
    MadeWith(cases=("1",)).write(run)
    assert json.loads((run / "made-with.json").read_text()) == ["1"]
    assert made_with(card(run / "model")).cases == ("1",)
    assert not made_with(card(tmp_path / "elsewhere"))
    # The folder above a source need not be its own.
    assert not made_with(card(run / "other"))

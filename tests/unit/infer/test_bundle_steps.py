"""Steps of an exported bundle, run in this process: the same results as allograft's own prediction."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from skimage import data

from allograft.catalog import parts
from allograft.core.errors import ConfigError, DataError
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.infer import bundle_steps as steps
from allograft.infer.ensemble import open_bundles
from allograft.infer.export_bundle import contract_of, write_monai_bundle
from allograft.infer.inputs import find_inputs
from allograft.infer.predict import decode, predict_prepared
from allograft.infer.predict_masks import segment_inputs
from allograft.infer.source_copy import copy_source, needed
from random_bundles import random_bundle

ANATOMICAL = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
"""A real MR volume, 33 x 41 x 25, axes as in the scanner."""


def exported(folder: Path, count: int = 1, **settings):
    """Return a predictor and the parsed configuration of its bundle, the copied scripts replaced by their originals."""
    predictor = open_bundles([random_bundle(folder / f"n{s}", seed=s, **settings) for s in range(count)], parts)
    out = folder / "bundle"
    out.mkdir()
    write_monai_bundle(out, predictor)
    (out / "configs/contract.json").write_text(contract_of(predictor).model_dump_json())
    config = json.loads((out / "configs/inference.json").read_text().replace("scripts.infer.", "allograft.infer."))
    return predictor, {**config, "bundle_root": str(out)}


def run_bundle(config, place: Path, out: Path) -> list[dict[str, str]]:
    parser = ConfigParser({**config, "dataset_dir": str(place), "output_dir": str(out)})
    parser.parse()
    parser.get_parsed_content("evaluator").run()
    return list(csv.DictReader((out / "predictions.csv").open()))


@pytest.mark.parametrize(
    ("count", "preprocess"),
    [
        (1, Preprocess(intensity="standard")),
        (2, Preprocess(intensity="percentile", crop="foreground")),
        (2, Preprocess(intensity="standard", spacing=(4.0, 3.0, 3.0))),
        (1, Preprocess(intensity="window", low=0, high=20000, spacing=(9.0, 2.0, 8.0))),
    ],
    ids=["as it is", "cropped", "resampled", "smaller than a window"],
)
def test_a_real_volume_gets_equal_labels_on_its_own_grid(count, preprocess, tmp_path):
    mirror = (0,) if count == 2 else ()
    patches = Patches(size=(16, 16, 16), overlap=0.25, mirror=mirror)
    predictor, config = exported(tmp_path, count, kind="segmentation", dims=3, preprocess=preprocess, patches=patches)
    (row,) = run_bundle(config, ANATOMICAL, tmp_path / "out")
    (expected,) = segment_inputs(predictor, find_inputs([str(ANATOMICAL)], dims=3))
    found, own = nibabel.load(row["labels"]), nibabel.load(ANATOMICAL)
    assert Path(row["labels"]).name == "anatomical_seg.nii.gz"
    np.testing.assert_allclose(found.affine, own.affine)
    labels = steps.read_channels(find_inputs([row["labels"]], dims=3)[0].refs, dims=3).array[0]
    assert len(np.unique(labels)) > 1
    assert (labels == expected.labels).mean() >= 0.9999  # sums in another order may flip an element that is a tie


def test_real_pictures_of_any_size_get_equal_labels(tmp_path):
    preprocess = Preprocess(channels=1, intensity="unit")
    predictor, config = exported(tmp_path, 2, kind="segmentation", dims=2, preprocess=preprocess)
    (tmp_path / "in").mkdir()
    for name, array in (
        ("coins", data.coins()[:90, :70]),
        ("cat", data.chelsea()[:41, :30]),
        ("thin", data.moon()[:9]),
    ):
        Image.fromarray(array).save(tmp_path / f"in/{name}.png")
    rows = run_bundle(config, tmp_path / "in", tmp_path / "out")
    expected = segment_inputs(predictor, find_inputs([str(tmp_path / "in")], dims=2))
    for row, one in zip(rows, expected, strict=True):
        assert row["file"] == one.item.name
        found = np.asarray(nibabel.load(row["labels"]).dataobj)[..., 0].T
        assert (found == one.labels).mean() >= 0.9999
        assert len(np.unique(found)) > 1


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("kind", "views"), [("binary", "plain"), ("multilabel", "ten_crop")])
def test_real_pictures_get_equal_probabilities_and_bad_ones_a_row(kind, views, tmp_path):
    preprocess = Preprocess(size=(16, 16), channels=1, intensity="standard")
    predictor, config = exported(tmp_path, 2, kind=kind, dims=2, preprocess=preprocess, views=views)
    (tmp_path / "in").mkdir()
    for name, array in (("a", data.coins()), ("b", data.chelsea())):
        Image.fromarray(array).save(tmp_path / f"in/{name}.png")
    items = find_inputs([str(tmp_path / "in")], dims=2)
    expected = list(predict_prepared(predictor, decode(items, predictor)))
    (tmp_path / "in/broken.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(DataError, match="1 of 3 images"):
        run_bundle(config, tmp_path / "in", tmp_path / "out")
    a, b, bad = csv.DictReader((tmp_path / "out/predictions.csv").open())
    assert "broken.png" in bad["error"]
    for row, one in zip((a, b), expected, strict=True):
        found = [float(row[f"p_{name}"]) for name in predictor.task.classes]
        np.testing.assert_allclose(found, one.probabilities, atol=2e-6)
        assert row["predicted"] == one.label(predictor.task)


def test_small_images_are_padded_with_what_the_network_sees_as_darkest(tmp_path):
    changes = {"kind": "segmentation", "dims": 2, "in_channels": 2}
    predictor = open_bundles([random_bundle(tmp_path / "net", **changes)], parts)
    contract = contract_of(predictor).model_copy(update={"scale": (2.0, -1.0), "shift": (0.5, 0.0)})
    (tmp_path / "c.json").write_text(contract.model_dump_json())
    windows, seen = steps.Windows(str(tmp_path / "c.json")), []
    x = torch.stack([torch.full((5, 20), 3.0), torch.full((5, 20), 4.0)])[None]

    def network(image):
        seen.append(image.clone())
        return image

    out = windows(x, network)
    assert out.shape == x.shape
    torch.testing.assert_close(out, x)
    padded = seen[0][0, :, 0, 0]  # the second channel is seen as -4, the least of all
    torch.testing.assert_close(
        padded * torch.tensor([2.0, -1.0]) + torch.tensor([0.5, 0.0]), torch.tensor([-4.0, -4.0])
    )


def test_windows_are_of_segmentations_only(tmp_path):
    predictor = open_bundles([random_bundle(tmp_path / "net", kind="binary", dims=2)], parts)
    (tmp_path / "c.json").write_text(contract_of(predictor).model_dump_json())
    with pytest.raises(ConfigError, match="no windows"):
        steps.Windows(str(tmp_path / "c.json"))


def test_the_copied_source_imports_nothing_of_the_package(tmp_path):
    names = copy_source(tmp_path / "scripts", "allograft.infer.bundle_steps")
    assert "allograft.data.preprocess" in names
    assert "allograft.data.io.dicom" in names, "imported inside a function"
    assert not [name for name in names if name.startswith(("allograft.study", "allograft.nets", "allograft.train"))]
    for path in (tmp_path / "scripts").rglob("*.py"):
        tree = ast.parse(path.read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in modules if name.partition(".")[0] == "allograft"], path
    for name in names:
        assert (tmp_path / "scripts").joinpath(*name.split(".")[1:]).with_suffix(".py").exists()
    assert "Apache License" in (tmp_path / "scripts/LICENSE").read_text()


def test_imports_for_type_checkers_alone_are_not_needed():
    names = needed("allograft.contracts")
    assert "allograft.weights.plan" in names
    assert "allograft.weights.source" not in names

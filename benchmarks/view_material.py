"""Images, networks and peers of view_loading.py."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai import transforms as mt
from torch.utils.data import Dataset
from torchvision.transforms import v2

from allograft.catalog import parts
from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.io.image import read_image
from allograft.data.origins import resolve
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StreamSource
from allograft.data.transforms.augment import Augment
from allograft.datasets.brain_tissue import BrainTissue, BrainTissueSettings
from allograft.datasets.skin_histology import _FILES, SkinHistology
from allograft.nets.build import build_network
from allograft.nets.network import Network
from allograft.nets.spec import NetSpec

TASK = Task(kind="binary", classes=("no", "yes"))
SIDE = 224


class Given(NamedTuple):
    """Images, the network that reads them, and how many at once."""

    data: str
    shape: tuple[int, ...]
    batch: int
    net: NetSpec
    steps: int


CASES = {
    "2-D, 48 x 48": Given("patches", (1, 48, 48), 32, NetSpec(encoder="resnet18"), 15),
    "2-D, 48 x 48, small net": Given("patches", (1, 48, 48), 32, NetSpec(encoder="cbr_tiny"), 25),
    "2-D, 3 x 224 x 224": Given("crops", (3, SIDE, SIDE), 8, NetSpec(encoder="resnet18"), 8),
    "3-D, 32 x 32 x 32": Given("brain", (1, 32, 32, 32), 8, NetSpec(encoder="resnet10", dims=3), 15),
    "3-D, 64 x 64 x 64": Given("brain", (1, 64, 64, 64), 4, NetSpec(encoder="resnet10", dims=3), 8),
}


def cohort(name: str, folder: Path) -> tuple[Cohort, Preprocess]:
    """Return real images without labels, and how they are prepared."""
    if name == "patches":
        return SkinHistology().prepare().without_targets(), SkinHistology.preprocess
    if name == "brain":
        whole = BrainTissueSettings(templates=("mni152",), blocks=(1, 1, 1), spacing=1.5)
        return BrainTissue(whole).prepare().without_targets(), BrainTissue.preprocess
    origin, sha256 = _FILES["picture"]
    picture = read_image(ImageRef(resolve(origin, sha256=sha256)), dims=2).array
    rows, columns = (n // SIDE for n in picture.shape[1:])
    tiles = [picture[:, i * SIDE :, j * SIDE :][:, :SIDE, :SIDE] for i in range(rows) for j in range(columns)]
    for k in range(3):
        np.save(folder / f"{k}.npy", np.stack([tile[k] for tile in tiles]))
    images = [tuple(ImageRef(folder / f"{k}.npy", row=i) for k in range(3)) for i in range(len(tiles))]
    cases = tuple(Case(id=f"tile{i:02d}", image=image, group=f"tile{i:02d}") for i, image in enumerate(images))
    return Cohort("crops", TASK, cases), Preprocess()


def opened(given: Given, folder: Path) -> StreamSource:
    """Return a stream of two views of each image, by the preset "views"."""
    found, preprocess = cohort(given.data, folder)
    store = Store.build(found, preprocess, folder / "stores")
    patches = Patches(size=given.shape[1:]) if given.data == "brain" else None
    look = Augment(preset="views")
    return StreamSource(
        cohort=found, store=store, batch=given.batch, labelled=False, augment=look, views=1, patches=patches
    )


def network(given: Given) -> Network:
    """Return a network without heads."""
    return build_network(given.net, {}, in_channels=given.shape[0], seed=0, parts=parts(given.net))


class Looks(Dataset):
    """Images in memory, and two looks at each."""

    def __init__(self, images: list[torch.Tensor], chain) -> None:
        self.images, self.chain = images, chain

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self.images[index % len(self.images)]
        return torch.as_tensor(self.chain(image)), torch.as_tensor(self.chain(image))


def peers(given: Given) -> dict[str, object]:
    """Return chains that do what "views" does: mirror, part of the image, brightness, contrast, gamma, blur."""
    dims, low = len(given.shape) - 1, 0.3 ** (1 / (len(given.shape) - 1))
    window = [mt.RandSpatialCrop(given.shape[1:], random_size=False)] if given.data == "brain" else []
    chains: dict[str, object] = {
        "MONAI": mt.Compose(
            [
                *window,
                mt.RandFlip(prob=0.5, spatial_axis=dims - 1),
                mt.RandScaleCrop(low, 1.0, random_size=True),
                mt.Resize(given.shape[1:], mode="bilinear" if dims == 2 else "trilinear"),
                mt.RandAdjustContrast(prob=0.8, gamma=(1 / 1.4, 1.4)),
                mt.RandScaleIntensity(prob=0.8, factors=0.4),
                mt.RandShiftIntensity(prob=0.8, offsets=0.1),
                mt.RandGaussianSmooth((0.25, 1.0), (0.25, 1.0), (0.25, 1.0), prob=0.3),
            ]
        )
    }
    if dims == 2:
        kept = [v2.RandomHorizontalFlip(), v2.RandomResizedCrop(given.shape[1:], (0.3, 1.0), antialias=False)]
        blur = v2.RandomApply([v2.GaussianBlur(7, (0.1, 1.0))], p=0.3)
        chains["torchvision"] = v2.Compose([*kept, v2.RandomApply([v2.ColorJitter(0.4, 0.4)], p=0.8), blur])
    return chains

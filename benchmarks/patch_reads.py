"""How fast patches come from the store: against nibabel on .nii.gz, and against MONAI's cached data sets.

    python benchmarks/patch_reads.py [--repeats 5] [--volumes 8] [--write]

Part one reads one random 96^3 patch of a volume: from the store, by nibabel decompressing the whole
file, and by slicing nibabel's `dataobj`. Part two takes an epoch of the same work (image and mask:
load, window, random patch of 96^3, batches of 2; one patch a volume): the store's streams against
MONAI's CacheDataset and PersistentDataset, all in the main process. Each reader's first epoch, which
decodes, is apart. Repeats are interleaved, medians compared.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import monai
import nibabel
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, PersistentDataset
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandSpatialCropd,
    ScaleIntensityRanged,
)
from scipy import ndimage

from allograft.core.task import Task
from allograft.data.case import Case, ImageRef
from allograft.data.cohort import Cohort
from allograft.data.patches import Patches
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.streams import StoreStreams, StreamSource
from allograft.train.precision import cpu_name

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "patch_reads.md"
SIDE, PATCH, BATCH = 256, 96, 2
LOW, HIGH = -1000.0, 1000.0
TASK = Task(kind="segmentation", classes=("background", "tissue"), head="tissue")


def synthetic_volumes(folder, count):
    """Write CT-like volumes of SIDE^3 int16 (smooth structures, noise of 20 HU) with a mask each."""
    cases = []
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = ndimage.zoom(rng.normal(0, 400, (17, 17, 17)), SIDE / 17, order=1)[:SIDE, :SIDE, :SIDE]
        image = (coarse + rng.normal(0, 20, coarse.shape)).clip(-1024, 2000).astype(np.int16)
        image[:, :30], image[:, -30:] = -1024, -1024  # air
        for name, array in (("image", image), ("mask", (coarse > 300).astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}-{i}.nii.gz")
        targets = {"tissue": ImageRef(folder / f"mask-{i}.nii.gz")}
        cases.append(Case(id=f"c{i}", image=(ImageRef(folder / f"image-{i}.nii.gz"),), targets=targets, group=f"p{i}"))
    return Cohort("synthetic", TASK, tuple(cases))


def boxes(seed):
    """Return a random box as slices."""
    corner = np.random.default_rng(seed).integers(0, SIDE - PATCH + 1, 3)
    return tuple(slice(int(c), int(c) + PATCH) for c in corner)


def seconds(act):
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def patch_times(cohort, store, repeats):
    """Return the seconds of one patch, by reader; readers alternate on the same boxes."""
    files = [nibabel.load(case.image[0].path) for case in cohort]
    readers = {
        "store": lambda i, box: store.image(f"c{i}", box),
        "nibabel, whole file": lambda i, box: np.asarray(files[i].dataobj)[box].astype(np.float32),
        "nibabel, `dataobj` sliced": lambda i, box: np.asarray(files[i].dataobj[box]).astype(np.float32),
    }
    found = {name: [] for name in readers}
    for repeat in range(repeats + 1):
        for i in range(len(files)):
            box = boxes(100 * repeat + i)
            for name, read in readers.items():
                took = seconds(lambda read=read, i=i, box=box: read(i, box))
                if repeat:
                    found[name].append(took)
    return found


def monai_epochs(cohort, folder):
    """Return by name what makes a MONAI data set and what runs an epoch of it."""
    keys = ["image", "mask"]
    chain = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            ScaleIntensityRanged("image", LOW, HIGH, 0, 1, clip=True),
            RandSpatialCropd(keys, (PATCH,) * 3, random_size=False),
        ]
    )
    files = [{"image": str(case.image[0].path), "mask": str(case.targets["tissue"].path)} for case in cohort]
    return {
        "MONAI CacheDataset": lambda: CacheDataset(files, chain, progress=False, num_workers=1),
        "MONAI CacheDataset, copy_cache=False": lambda: CacheDataset(
            files, chain, progress=False, num_workers=1, copy_cache=False
        ),
        "MONAI PersistentDataset": lambda: PersistentDataset(files, chain, cache_dir=folder / "persistent"),
    }


def take_all(batches):
    """Run through batches; touch each value once, as copying to a device would."""
    for batch in batches:
        image, mask = (batch["image"], batch["mask"]) if isinstance(batch, dict) else batch
        assert image.shape[-3:] == mask.shape[-3:] == (PATCH,) * 3
        image.sum()
        mask.sum()


def store_epoch(streams, count, epoch):
    """Yield the batches of one epoch."""
    for step in range(count // BATCH):
        batch = streams.at(epoch * (count // BATCH) + step)["train"]
        yield batch.image, batch.targets["tissue"]


def epoch_times(cohort, folder, repeats):
    """Return the seconds of making and of an epoch, by reader."""
    spec, count = Preprocess(intensity="window", low=LOW, high=HIGH), len(cohort)
    patches = Patches(size=(PATCH,) * 3, foreground=0)
    making, loaders = {}, {}

    def ours():
        store = Store.build(cohort, spec, folder / "stores")
        source = StreamSource(cohort=cohort, batch=BATCH, store=store, patches=patches)
        loaders["store"] = StoreStreams({"train": source}, seed=0)
        take_all(store_epoch(loaders["store"], count, 0))

    making["store"] = seconds(ours)
    for name, make in monai_epochs(cohort, folder).items():

        def theirs(name=name, make=make):
            loaders[name] = DataLoader(make(), batch_size=BATCH, shuffle=True, num_workers=0)
            take_all(loaders[name])

        making[name] = seconds(theirs)
    found = {name: [] for name in loaders}
    for repeat in range(repeats + 1):
        for name, loader in loaders.items():
            batches = store_epoch(loader, count, repeat + 1) if name == "store" else loader
            took = seconds(lambda batches=batches: take_all(batches))
            if repeat:
                found[name].append(took)
    return making, found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = synthetic_volumes(folder, chosen.volumes)
        making, epochs = epoch_times(cohort, folder, chosen.repeats)
        spec = Preprocess(intensity="window", low=LOW, high=HIGH)
        reads = patch_times(cohort, Store.build(cohort, spec, folder / "stores", verify=False), chosen.repeats)
    text = page(reads, making, epochs, chosen)
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


def page(reads, making, epochs, chosen):
    read = {name: statistics.median(took) for name, took in reads.items()}
    epoch = {name: statistics.median(took) for name, took in epochs.items()}
    return "\n".join(
        [
            "# Patch reads",
            "",
            f"{chosen.volumes} synthetic CT-like volumes of {SIDE}^3 (int16, .nii.gz) with a mask each; one thread.",
            f"Medians of {chosen.repeats} interleaved repeats; "
            "`python benchmarks/patch_reads.py --write` makes this page.",
            "Files and stores lie in the page cache of the machine, as after the first epoch of a training.",
            "",
            f"One random patch of {PATCH}^3 as float32, the image alone (target: 20 times nibabel):",
            "",
            "| read by | ms | the store is faster by |",
            "|---|---|---|",
            *(f"| {name} | {took * 1e3:.2f} | **{took / read['store']:.1f}** |" for name, took in read.items()),
            "",
            f"An epoch of the same work: image and mask, window, random patch, batches of {BATCH}, one patch a volume",
            "(target: no slower than CacheDataset, faster than PersistentDataset). The first epoch decodes the files;",
            "the store also writes checksums and positions of each class then, once for all later runs.",
            "CacheDataset copies each cached volume before it is cropped unless told not to (safe only where no",
            "transform works in place); it holds all volumes in memory, the store none. Its masks are float32, the",
            "store's int64, as losses need them: twice the bytes.",
            "",
            "| read by | epoch, ms | relative to the store | first epoch, s |",
            "|---|---|---|---|",
            *(
                f"| {name} | {took * 1e3:.1f} | **{took / epoch['store']:.2f}** | {making[name]:.1f} |"
                for name, took in epoch.items()
            ),
            "",
            f"Measured on {cpu_name()}, {platform.system()}, PyTorch {torch.__version__}, MONAI {monai.__version__}, "
            f"nibabel {nibabel.__version__}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()

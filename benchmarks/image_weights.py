"""How long image weights and kernel machines of voxels take: 20 images x 100,000 voxels, 50,000 weighted samples.

    python benchmarks/image_weights.py [--write] [--threads 1]

Voxels are synthetic: ten features of Gaussian mixtures whose means differ from image to image; the target lies between
two images. Seconds of the processor, over all threads, are what an idle machine needs at most; those of the wall clock
hold for the machine as it was. Random features are compared with exact blocks on small data, where
these can be had. Memory is the peak of a fresh process above what it holds with the voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "image_weights.md"
IMAGES, VOXELS, FEATURES, SAMPLES = 20, 100_000, 10, 50_000
CRITERIA = ("kl", "bhattacharyya", "euclid", "mmd")
MEMORY = 256.0
TARGET = 10.0


def voxels(images, count, seed=0):
    """Return images (count, FEATURES) float32, the last the target."""
    import numpy as np

    rng = np.random.default_rng(seed)
    kinds = rng.normal(scale=2, size=(3, FEATURES))
    out = []
    for image in [*range(images), (images - 1) / 2 + 0.3]:
        which = rng.integers(3, size=count)
        out.append((kinds[which] + 0.15 * image + rng.normal(size=(count, FEATURES))).astype(np.float32))
    return out


def peak(field):
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found.group(1)) / 1024


def weigh(criterion):
    """Weigh the large set once; return seconds, peak and what came out."""
    from allograft.shallow.image_weighting import ImageWeighting

    small = voxels(3, 200)
    ImageWeighting(criterion).fit(small[:-1], small[-1])  # imports and first calls are not the task's
    images = voxels(IMAGES, VOXELS)
    held, begun, worked = peak("VmRSS"), time.perf_counter(), time.process_time()
    model = ImageWeighting(criterion, memory=MEMORY).fit(images[:-1], images[-1])
    seconds, work = time.perf_counter() - begun, time.process_time() - worked
    return {"seconds": seconds, "work": work, "peak": peak("VmHWM") - held, "error": model.error_}


def exact():
    """Return how far random features are from exact blocks on small data: weights, inner products, stated error."""
    import numpy as np

    from allograft.shallow.feature_map import MixedKernel
    from allograft.shallow.image_weighting import ImageWeighting, mean_embeddings

    small = voxels(6, 1500)
    blocks = ImageWeighting("mmd", kernel_map="exact").fit(small[:-1], small[-1])
    gamma = 1 / (FEATURES * float(np.concatenate(small).astype(np.float64).var()))
    kernel = MixedKernel.gaussian(gamma, FEATURES)
    double = [x.astype(np.float64) for x in small]
    inner = np.array([[kernel(a, b).mean() for b in double] for a in double])
    rows = []
    for components in (128, 512, 4096):
        model = ImageWeighting("mmd", components=components).fit(small[:-1], small[-1])
        means = mean_embeddings(small, kernel, components, memory=MEMORY, rng=np.random.default_rng(0))
        rows.append(
            {
                "components": components,
                "inner": float(np.abs(means @ means.T - inner).max()),
                "stated": model.error_,
                "weights": float(np.abs(model.weights_ - blocks.weights_).max()),
            }
        )
    return rows


def machine(kernel_map):
    """Fit a weighted kernel SVM to many samples; return seconds, peak and accuracy on others."""
    import numpy as np

    from allograft.shallow.kernel_svm import KernelSVM

    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES + 5000, FEATURES))
    y = (np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=len(x)) > 0).astype(int)
    weights = rng.uniform(0.1, 2, SAMPLES)
    held, begun, worked = peak("VmRSS"), time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = KernelSVM(kernel_map=kernel_map, components=512).fit(x[:SAMPLES], y[:SAMPLES], weights)
    seconds, work = time.perf_counter() - begun, time.process_time() - worked
    right = model.score(x[SAMPLES:], y[SAMPLES:])
    return {"seconds": seconds, "work": work, "peak": peak("VmHWM") - held, "right": right, "warned": len(said)}


def alone(task, name, threads):
    call = [sys.executable, __file__, "--task", task, "--name", name]
    settings = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return json.loads(subprocess.run(call, check=True, capture_output=True, text=True, env=settings).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--task", choices=["weigh", "machine", "exact"], help="one measurement in this process")
    parser.add_argument("--name", default="")
    chosen = parser.parse_args()
    if chosen.task:
        found = {"weigh": weigh, "machine": machine, "exact": lambda name: exact()}[chosen.task](chosen.name)
        print(json.dumps(found))
        return
    weighed = {name: alone("weigh", name, chosen.threads) for name in CRITERIA}
    machines = {name: alone("machine", name, chosen.threads) for name in ("nystroem", "fourier")}
    text = page(weighed, machines, alone("exact", "", chosen.threads), chosen.threads)
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


def page(weighed, machines, errors, threads):
    from allograft.train.precision import cpu_name

    lines = [
        "# Image weights",
        "",
        f"Weights of {IMAGES} images of {VOXELS:,} synthetic voxels of {FEATURES} features, for a target like them;",
        f"{threads} thread(s), `memory` = {MEMORY:g} MB. `python benchmarks/image_weights.py --write` makes this page.",
        "",
        "| criterion | processor seconds | target | wall clock | peak memory in MB above the voxels |",
        "|---|---|---|---|---|",
        *(
            f"| {n} | **{f['work']:.1f}** | {TARGET:g} | {f['seconds']:.1f} | {f['peak']:.0f} |"
            for n, f in weighed.items()
        ),
        "",
        f"`mmd` uses 512 random features; the largest standard error of an inner product of two images' means is "
        f"{weighed['mmd']['error']:.1e} there.",
        "",
        "**Against exact blocks**, 6 images of 1,500 voxels:",
        "",
        "| random features | largest error of an inner product | standard error that is stated | of a weight |",
        "|---|---|---|---|",
        *(f"| {e['components']} | {e['inner']:.1e} | {e['stated']:.1e} | {e['weights']:.1e} |" for e in errors),
        "",
        f"**A kernel SVM of {SAMPLES:,} weighted samples**, {FEATURES} features, 512 features of the kernel:",
        "",
        "| map | processor seconds | wall clock | right on 5,000 others | peak memory in MB |",
        "|---|---|---|---|---|",
        *(
            f"| {n} | **{f['work']:.1f}** | {f['seconds']:.1f} | {100 * f['right']:.1f} % | {f['peak']:.0f} |"
            for n, f in machines.items()
        ),
        "",
        f"An idle machine needs no more than the processor seconds. {os.getloadavg()[0]:.0f} processes were "
        f"running. Measured on {cpu_name()}, {platform.system()}, {os.cpu_count()} cores.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

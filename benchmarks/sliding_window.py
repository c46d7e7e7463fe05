"""How a whole volume is segmented: time, memory and equality against MONAI's SlidingWindowInferer.

    python benchmarks/sliding_window.py [--repeats 5] [--write] [--no-large]

Both sides get the same network, volume, windows, overlap and batches. Times run to labels on both
sides, by the same arg-max, interleaved. Memory is measured in a fresh process for each side, the peak
above what is held once network and volume are there; MONAI's up to its logits, ours up to labels.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from allograft.catalog import parts
from allograft.core.task import Task
from allograft.data.patches import Patches
from allograft.infer.segment import segment
from allograft.infer.windows import tiles
from allograft.nets.build import build_network
from allograft.nets.spec import NetSpec
from allograft.testing.dense import dense_net
from allograft.train.precision import cpu_name

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "sliding_window.md"
SPEC = NetSpec(encoder="resnet10", dims=3, in_channels=1, decoder="unet", width=0.25)
CLASSES = 20
TIMED = ((96, 128, 128), Patches(size=(64, 64, 64), batch=2))
MEASURED = ((200, 256, 256), Patches(size=(64, 64, 64), batch=1, overlap=0.25))
LARGE = ((400, 512, 512), Patches(size=(128, 128, 128), batch=1), 118)


def network():
    task = Task(kind="segmentation", classes=tuple(f"class {k}" for k in range(CLASSES)))
    net = build_network(SPEC, {"label": task}, in_channels=1, seed=0, parts=parts(SPEC)).eval()
    for value in net.heads["label"].parameters():
        torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(0))
    return net


def volume(shape):
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))


def ours(net, image, patches):
    return segment([net], image, head="label", patches=patches)


def theirs(net, image, patches):
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(patches.size, patches.batch, patches.overlap, mode="gaussian")
    with torch.no_grad():
        return inferer(image[None], lambda x: net(x).logits["label"])[0]


def labels_of_theirs(net, image, patches):
    return theirs(net, image, patches).max(0).indices


def difference(net, image, patches):
    """Return the largest difference of a logit, and the largest logit."""
    expected, most = theirs(net, image, patches), 0.0
    for box, logits in tiles(net, image, head="label", patches=patches):
        most = max(most, float((expected[(slice(None), *box)] - logits).abs().max()))
    return most, float(expected.abs().max())


def memory(field):
    """Return bytes of this process: VmRSS now, VmHWM at most (getrusage would count the parent's)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found.group(1)) * 1024


def measure(side):
    """Run one side alone; print seconds and the peak above the start."""
    torch.set_num_threads(1)
    if side == "large":
        shape, patches, classes = LARGE
        net, image, run = dense_net(3, outputs=classes, features=16), volume(shape), ours
    else:
        (shape, patches), net = MEASURED, network()
        image, run = volume(shape), {"ours": ours, "theirs": theirs}[side]
        run(net, image[:, :64, :64, :64].contiguous(), patches)  # imports and first calls are not the task's
    held, start = memory("VmRSS"), time.perf_counter()
    run(net, image, patches)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": memory("VmHWM") - held}))


def alone(side):
    call = [sys.executable, __file__, "--measure", side]
    return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def times(repeats):
    """Return the CPU seconds of each side on its one thread, interleaved; the first pass warms up."""
    (shape, patches), net = TIMED, network()
    image, found = volume(shape), {labels_of_theirs: [], ours: []}
    for repeat in range(repeats + 1):
        for run, seconds in found.items():
            start = time.process_time()
            run(net, image, patches)
            if repeat:
                seconds.append(time.process_time() - start)
    return found[labels_of_theirs], found[ours], difference(net, image, patches)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    parser.add_argument("--no-large", action="store_true", help="leave out the large volume, which takes minutes")
    parser.add_argument("--measure", choices=["ours", "theirs", "large"], help="run one side in this process")
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.measure)
        return
    torch.set_num_threads(1)
    slow, fast, error = times(chosen.repeats)
    peaks = {side: alone(side) for side in ("theirs", "ours")}
    text = page(slow, fast, error, peaks, None if chosen.no_large else alone("large"))
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


def sizes(shape):
    return " x ".join(map(str, shape))


def page(slow, fast, error, peaks, large):
    ratios = [b / a for a, b in zip(slow, fast, strict=True)]
    mib = {side: found["peak"] / 2**20 for side, found in peaks.items()}
    lines = [
        "# Sliding window",
        "",
        f"A {SPEC.encoder} of {SPEC.width:g} times the width with U-Net decoder, {CLASSES} classes, one thread,",
        "against MONAI's `SlidingWindowInferer` with Gaussian weights on the same network, volume and windows.",
        "Times run to labels on both sides; memory runs to logits on MONAI's side, to labels on ours.",
        "`python benchmarks/sliding_window.py --write` makes this page.",
        "",
        "| | MONAI | allograft | ratio | target |",
        "|---|---|---|---|---|",
        f"| CPU seconds, {sizes(TIMED[0])}, windows {sizes(TIMED[1].size)}, overlap {TIMED[1].overlap:g} "
        f"| {statistics.median(slow):.2f} | {statistics.median(fast):.2f} | **{statistics.median(ratios):.2f}** | 1 |",
        f"| peak memory in MiB, {sizes(MEASURED[0])}, windows {sizes(MEASURED[1].size)} "
        f"| {mib['theirs']:.0f} | {mib['ours']:.0f} | **{mib['ours'] / mib['theirs']:.2f}** | 0.5 |",
        "",
        f"Largest difference of a logit: {error[0]:.1e} (logits up to {error[1]:.1f}; target 1e-5).",
        f"Times are medians of {len(slow)} interleaved repeats, their ratios lie between {min(ratios):.2f} and "
        f"{max(ratios):.2f}.",
        "Memory is the peak of a fresh process above what it holds with network and volume, the network's own",
        "intermediate results included.",
        "",
    ]
    if large:
        shape, patches, classes = LARGE
        logits = 4 * classes * shape[0] * shape[1] * shape[2] / 2**30
        lines += [
            f"**{classes} classes on {sizes(shape)}** (16 features, windows {sizes(patches.size)}, overlap "
            f"{patches.overlap:g}):",
            f"peak **{large['peak'] / 2**30:.2f} GiB** (target 4) in {large['seconds']:.0f} s;",
            f"the logits alone would take {logits:.1f} GiB.",
            "",
        ]
    return "\n".join([*lines, f"Measured on {cpu_name()}, {platform.system()}, PyTorch {torch.__version__}.", ""])


if __name__ == "__main__":
    main()

"""How long a checkpoint of 100 MB takes to be opened and planned: against loading it plus its SHA-256.

    python benchmarks/open_checkpoint.py [--repeats 15] [--write]

The same ResNet (widened to about 100 MB, random numbers) is saved as safetensors, as torch's zip archive, as
torch's legacy file, and nested with an optimizer's state. For each: `SourceWeights.open` of a card with the
file's hash and `build_plan` for the network (ours) against the framework's loader, every tensor read once, plus
the file's SHA-256 (theirs); repeats are interleaved, medians of the ratio of neighbours are told. A card of
unknown hash is timed too: then every number is read and found finite instead. The probe (forward passes of the
source's network) is timed apart. Peak memory is that of a child process that opens, plans and applies, above
that of a child that only builds the network; it may be the file and little more.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from allograft import catalog
from allograft.core.reference import Reference
from allograft.nets.network import Network
from allograft.train.precision import cpu_name
from allograft.weights.apply import apply
from allograft.weights.build import build_plan
from allograft.weights.card import WeightSource
from allograft.weights.probe import probe
from allograft.weights.rules import Action, Rule
from allograft.weights.source import SourceWeights

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "open_checkpoint.md"
RULES = (Rule(action=Action.COPY, why="all of the encoder"),)
FORMS = ("safetensors", "torch zip", "torch zip, nested with optimizer", "torch legacy")
DEPTH, WIDTH = 50, 1.0625
LIMIT = 1.5


def network():
    """Return the network, about 100 MB, its numbers drawn anew."""
    torch.manual_seed(0)
    return Network(catalog.encoder_factory(f"resnet{DEPTH}")(dims=2, in_channels=3, width=WIDTH, drop_path=0.0), {})


def written(folder, form, state):
    """Write the file of a form and return its path and the place of the tensors inside it."""
    path = folder / form.replace(" ", "_").replace(",", "")
    if form == "safetensors":
        save_file(state, path)
        return path, ""
    if form == "torch zip":
        torch.save(state, path)
        return path, ""
    if form == "torch legacy":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
        return path, "state_dict"
    moments = {i: {"momentum_buffer": torch.zeros(64)} for i, _ in enumerate(state)}
    torch.save({"epoch": 90, "state_dict": state, "optimizer": {"state": moments, "param_groups": [{"lr": 0.1}]}}, path)
    return path, "state_dict"


def card_of(path, container, *, known):
    """Return the card of a file; with its hash where `known`."""
    return WeightSource(
        name="bench",
        title="random numbers",
        origin=f"file:{path}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest() if known else "",
        license="own",
        commercial=True,
        reference=Reference(title="none"),
        encoder=f"resnet{DEPTH}",
        width=WIDTH,
        container=container,
    )


def ours(card, path, net):
    """Open and plan."""
    return build_plan(net, SourceWeights.open(card, path), RULES, start="full")


def theirs(form, path):
    """Load all with the framework, and hash the file."""
    loaded = load_file(path) if form == "safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    with path.open("rb") as file:
        return loaded, hashlib.file_digest(file, "sha256").hexdigest()


def seconds(function, *args):
    begin = time.perf_counter()
    function(*args)
    return time.perf_counter() - begin


def compared(form, path, container, net, repeats):
    """Return medians in milliseconds and of the ratios of neighbouring repeats."""
    hashed, unknown = (card_of(path, container, known=known) for known in (True, False))
    ours(hashed, path, net), theirs(form, path)
    rows = []
    for turn in range(repeats):
        jobs = [(ours, hashed, path, net), (theirs, form, path), (ours, unknown, path, net)]
        took = {}
        for number in sorted(range(3), key=lambda each: (each + turn) % 3):
            took[number] = seconds(*jobs[number])
        rows.append((took[0], took[1], took[2]))
    mine, base, fresh = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
    ratio = statistics.median(a / b for a, b, _ in rows)
    ratio_unknown = statistics.median(c / b for _, b, c in rows)
    return {"ours": mine, "theirs": base, "unknown": fresh, "ratio": ratio, "ratio_unknown": ratio_unknown}


def peak(path, container, mode):
    """Return the peak memory of a child process in megabytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", mode, str(path), container], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def child(mode, path, container):
    """Build the network; open, plan and apply where asked for; write the peak."""
    net = network()
    if mode == "open":
        source = SourceWeights.open(card_of_cheap(Path(path), container), Path(path))
        apply(build_plan(net, source, RULES, start="full"), net, source, seed=0)
    # ru_maxrss of a child starts at what its parent held when it forked; the kernel's mark of this program does not.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def card_of_cheap(path, container):
    """Return the card with its hash, computed without holding the file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return card_of(path, container, known=False).model_copy(update={"sha256": digest})


def page(rows, probe_ms, size, net_size, base):
    """Return the page."""
    lines = [
        "# Opening a checkpoint",
        "",
        f"A ResNet-{DEPTH} of {net_size:.0f} MB (random numbers). Written by `python benchmarks/open_checkpoint.py "
        f"--write` on {cpu_name()}, {platform.system()}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} thread(s).",
        "",
        "*Ours*: `SourceWeights.open` with a card that knows the hash, and `build_plan`. *Theirs*: the framework's "
        "loader plus the file's SHA-256. *Hash unknown*: the same card without a hash, so every number is read and "
        f"found finite instead. The ratio may be {LIMIT} at most.",
        "",
        "| format | ours, ms | theirs, ms | ratio | hash unknown, ms | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for form, row in rows.items():
        lines.append(
            f"| {form} | {row['ours']:.0f} | {row['theirs']:.0f} | {row['ratio']:.2f} | {row['unknown']:.0f} | "
            f"{row['ratio_unknown']:.2f} |"
        )
    lines += [
        "",
        f"The probe (the source's own network filled and both run on the probe input) took {probe_ms:.0f} ms, apart.",
        "",
        "Peak memory of a process that builds the network, opens the file, plans and applies, above one that only "
        f"builds the network ({base:.0f} MB, Python and torch included). The file has {size:.0f} MB; its pages are "
        "mapped, not copied.",
        "",
        "| format | peak above the network, MB |",
        "|---|---|",
        *(f"| {form} | {row['peak'] - base:.0f} |" for form, row in rows.items()),
        "",
    ]
    return "\n".join(lines)


def probe_time(path, container, net):
    """Return the milliseconds of applying and probing."""
    source = SourceWeights.open(card_of(path, container, known=True), path)
    plan = build_plan(net, source, RULES, start="full")
    apply(plan, net, source, seed=0)
    return 1000 * seconds(probe, plan, net, source, lambda: network().encoder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    net = network()
    state = {key.removeprefix("encoder."): value for key, value in net.state_dict().items()}
    net_size = sum(value.nbytes for value in state.values()) / 2**20
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        for form in FORMS:
            path, container = written(Path(scratch), form, state)
            rows[form] = compared(form, path, container, net, options.repeats)
            rows[form]["peak"] = peak(path, container, "open")
        base = peak(path, container, "network")
        size = path.stat().st_size / 2**20
        probe_ms = probe_time(path, container, net)
    text = page(rows, probe_ms, size, net_size, base)
    print(text)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

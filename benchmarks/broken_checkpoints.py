"""What loaders make of broken checkpoints: allograft's check against MONAI, timm and segmentation_models_pytorch.

    PYTHONPATH=FOLDER python benchmarks/broken_checkpoints.py [--write]

Each file of tests/broken_checkpoints.py is given to each loader as its documentation shows, in a folder of its own.
The network is the one that the card names. An error is "refused"; otherwise the features of the loaded network
are compared with those that the true network gives on a fixed input. Loaders that need a network of their own (MONAI's
`pretrained=`, segmentation_models_pytorch's encoders) take the kinds made of a plain 2-D ResNet-18.
segmentation_models_pytorch and pytorch-ignite (which MONAI's handler needs, in the version it asks for) are
optional: FOLDER is where they were installed (pip install --target FOLDER --no-deps); what is absent is left out
by name.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import monai
import timm
import torch
from monai.networks.nets import resnet as monai_resnet

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
corpus = importlib.import_module("broken_checkpoints")

from allograft.study.check_weights import build_encoder, check_file  # noqa: E402
from allograft.weights.fingerprint import probe_input, relative_difference  # noqa: E402

SOME = ("prefix module.", "prefix _orig_mod.", "prefix module.encoder_q.", "prefix backbone.")
KINDS = [kind for kind in corpus.KINDS if not kind.name.startswith("prefix ") or kind.name in SOME]
PAGE = ROOT / "docs" / "benchmarks" / "broken_checkpoints.md"
RIGHT = 1e-3


def true_net(sample, elsewhere):
    """Return the network that the file's authors had."""
    net = corpus.donor_net(sample.kind.donor)
    if elsewhere is not None:
        elsewhere.act(net)
    return net.eval()


def into_ours(load):
    """Return a loader of files into the encoder that the card names."""

    def loaded(sample):
        with torch.random.fork_rng():
            net = build_encoder(sample.card).eval()
        load(net, sample)
        return net

    return loaded


def monai_handler(**options):
    def load(net, sample):
        key = sample.card.container or "net"
        engine = importlib.import_module("ignite.engine").Engine(lambda engine, batch: None)
        loader = importlib.import_module("monai.handlers").CheckpointLoader
        loader(load_path=str(sample.path), load_dict={key: net}, **options)(engine)

    return load


def timm_loader(strict):
    return lambda net, sample: timm.models.load_checkpoint(net, str(sample.path), strict=strict)


def monai_pretrained(sample):
    """MONAI's own ResNet-18, in 2-D and narrow, built with `pretrained=` a file."""
    if sample.kind.donor != "flat":
        return None
    planes = [8, 16, 32, 64]
    options = {
        "spatial_dims": 2,
        "n_input_channels": 3,
        "feed_forward": False,
        "shortcut_type": "B",
        "bias_downsample": False,
    }
    block = monai_resnet.ResNetBlock
    return monai_resnet._resnet("resnet18", block, [2, 2, 2, 2], planes, str(sample.path), False, **options).eval()


def smp_encoder(sample):
    """segmentation_models_pytorch's ResNet-18 with the loading of its own `get_encoder`."""
    smp = importlib.import_module("segmentation_models_pytorch")
    if sample.kind.donor != "flat":
        return None
    net = smp.encoders.get_encoder("resnet18", weights=None)
    net.load_state_dict(torch.load(sample.path, map_location="cpu", weights_only=True))
    return net.eval()


def features(net, x):
    """Return the deepest features."""
    with torch.no_grad():
        out = net(x)
    return out[-1] if isinstance(out, tuple | list) else out


def verdict(make, sample, truth, x):
    """Say what became of a file: refused, right or wrong and by how much."""
    try:
        net = make(sample)
    except Exception as error:  # whatever a tool raises is its refusal
        return "ran its code" if Path(corpus.MARKER).exists() else f"refused ({type(error).__name__})"
    if Path(corpus.MARKER).exists():
        return "ran its code"
    if net is None:
        return "-"
    gap = relative_difference(features(net, x), truth)
    return "right" if gap <= RIGHT else f"**silently wrong** ({gap:.2g})"


def monai_truth(sample, elsewhere, folder):
    """MONAI's own network given the true file: what its features should be."""
    torch.save(corpus.true_state(sample.kind.donor), folder / "true.pth")
    net = monai_pretrained(sample._replace(path=folder / "true.pth"))
    if net is not None and elsewhere is not None:
        elsewhere.act(net)
    return net


def smp_truth(sample, elsewhere, folder):
    torch.save(corpus.true_state(sample.kind.donor), folder / "true.pth")
    net = smp_encoder(sample._replace(path=folder / "true.pth"))
    if net is not None and elsewhere is not None:
        elsewhere.act(net)
    return net


def ours(sample):
    """Say what the check says."""
    found = check_file(sample.path, sample.card)
    if found.ok:
        return "**called ok**"
    helped = any(mend.helped and mend.proof == "fingerprint" for mend in found.mends)
    return f"refused: {found.cause}" + (", mend found" if helped else "")


def present(package):
    return importlib.util.find_spec(package) is not None


def columns():
    """Return the peers that are there: name, loader, and what makes its true network where it needs its own."""
    handlers = [
        ("MONAI CheckpointLoader", into_ours(monai_handler()), None),
        ("CheckpointLoader strict=False", into_ours(monai_handler(strict=False)), None),
        ("CheckpointLoader strict_shape=False", into_ours(monai_handler(strict=False, strict_shape=False)), None),
    ]
    tools: list[tuple[str, Callable, Callable | None]] = [
        *(handlers if present("ignite") else []),
        ("MONAI pretrained=", monai_pretrained, monai_truth),
        ("timm load_checkpoint", into_ours(timm_loader(True)), None),
        ("timm strict=False", into_ours(timm_loader(False)), None),
    ]
    smp = [("segmentation_models_pytorch", smp_encoder, smp_truth)]
    return [*tools, *(smp if present("segmentation_models_pytorch") else [])]


def row(kind, tools, folder):
    """Return one line of the table."""
    elsewhere = kind if isinstance(kind, corpus.Elsewhere) else None
    folder.mkdir()
    os.chdir(folder)
    make = corpus.make_elsewhere(kind, folder / "f") if elsewhere else corpus.make(kind, folder / "f", mark=True)
    x = probe_input((1, make.card.expects.channels, *((64, 64) if make.card.dims == 2 else (16, 24, 32))))
    true = features(true_net(make, elsewhere), x)
    cells = []
    for _, load, own in tools:
        truth = true
        sample = make
        if own is smp_truth:  # its networks have full width only
            sample, x_own = wide(kind, folder, elsewhere), x
            truth_net = own(sample, elsewhere, folder) if sample else None
            truth = None if truth_net is None else features(truth_net, x_own)
        elif own is not None:
            truth_net = own(make, elsewhere, folder)
            truth = None if truth_net is None else features(truth_net, x)
        cells.append("-" if truth is None else verdict(load, sample, truth, x))
        if own is smp_truth:
            narrow()
    return [kind.name, ours(make), *cells]


NARROW = dict(corpus.DONORS["flat"])


def wide(kind, folder, elsewhere):
    """Make a kind of a ResNet-18 of full width; None for the others."""
    if kind.donor != "flat":
        return None
    corpus.DONORS["flat"]["width"] = 1.0
    forget()
    return corpus.make_elsewhere(kind, folder / "w") if elsewhere else corpus.make(kind, folder / "w", mark=False)


def narrow():
    corpus.DONORS["flat"].update(NARROW)
    forget()


def forget():
    corpus._trained.cache_clear()
    corpus.marked_card.cache_clear()


def page(rows, tools):
    """Write the table as a page."""
    names = ["kind", "allograft weights check", *(name for name, _, _ in tools)]
    counts = []
    for i, name in enumerate(names[1:], start=1):
        cells = [each[i] for each in rows if each[i] != "-"]
        wrong, right = (
            sum("silently" in c or c.startswith(("ran its", "**called")) for c in cells),
            cells.count("right"),
        )
        counts.append((name, len(cells), sum(c.startswith("refused") for c in cells), wrong, right))
    absent = [name for name in ("segmentation_models_pytorch", "ignite") if not present(name)]
    return "\n".join(
        [
            "# Broken checkpoints",
            "",
            f"{len(rows)} files, each wrong in one way that is known from files in use (synthetic weights, made by",
            "`tests/broken_checkpoints.py`), given to loaders as their documentation shows;",
            "`python benchmarks/broken_checkpoints.py --write` makes this page. *Silently wrong*: no error, and the",
            "deepest features of the loaded network differ from the true network's by more than 0.1 % (relative L2",
            "difference in brackets). *Right*: the loader undid it. -: the kind does not apply to the loader's own",
            "network. allograft judges by a card with a fingerprint; the other loaders have nothing of the kind, and",
            "loaders that are told `strict=False` are asked not to refuse: what they then load is what is measured.",
            "Four of the prefix families are in the table.",
            f"Not installed and left out: {', '.join(absent)}." if absent else "",
            "",
            "| loader | files | refused | silently wrong | right |",
            "|---|---|---|---|---|",
            *(f"| {name} | {n} | {refused} | **{wrong}** | {right} |" for name, n, refused, wrong, right in counts),
            "",
            "| " + " | ".join(names) + " |",
            "|" + "---|" * len(names),
            *("| " + " | ".join(each) + " |" for each in rows),
            "",
            f"Measured with PyTorch {torch.__version__}, MONAI {monai.__version__}, timm {timm.__version__}"
            + ("" if absent else f", segmentation_models_pytorch {version('segmentation_models_pytorch')}")
            + f" on {platform.system()}.",
            "",
        ]
    )


def main():
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--write", action="store_true", help="write the page into docs/benchmarks")
    asked = ask.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tools, rows, here = columns(), [], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for i, kind in enumerate((*KINDS, *corpus.ELSEWHERE)):
            rows.append(row(kind, tools, Path(folder) / str(i)))
            print(" | ".join(rows[-1]), flush=True)
            os.chdir(here)
            for path in (Path(folder) / str(i)).rglob("*"):
                if path.is_file():
                    path.unlink()
    text = page(rows, tools)
    if asked.write:
        PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

"""A made-up study with everything that a report can show: no number in it was ever measured."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from allograft.stats.intervals import mean_interval
from allograft.stats.paired import compare_units
from allograft.stats.verdict import Arms, settle
from allograft.study.curves import efficiency_curves
from allograft.study.headline import headline
from allograft.study.outcome import Failed, RunKey
from allograft.study.summary import Curve, Estimate, Layer, Pair, Ranked, RunRow, Summary, Table

RECIPES = {
    "imagenet": ("full", "full", "efficientnet_lite0-synthetic", 0.862),
    "imagenet-lpft": ("full", "lp_ft(share=0.3)", "efficientnet_lite0-synthetic", 0.858),
    "lowest-2": ("partial(until=stage2)", "full", "efficientnet_lite0-synthetic", 0.815),
    "mean-var": ("mean_var", "full", "efficientnet_lite0-synthetic", 0.79),
    "scratch": ("scratch", "full", None, 0.762),
    "linear-probe": ("full", "frozen", "efficientnet_lite0-synthetic", 0.74),
    "frozen-random": ("scratch", "frozen", None, 0.51),
}
STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7", "top")
CLASSES = ("empty slide", "stratum corneum", "living epidermis", "dermis")
SHARES = {
    "full": (0.9984, 0.0001, 0.0, 0.0, 0.0015),
    "partial(until=stage2)": (0.0047, 0.0001, 0.0, 0.0, 0.9952),
    "mean_var": (0.0, 0.0, 0.981, 0.0, 0.019),
    "scratch": (0.0, 0.0, 0.0, 0.0, 1.0),
}
HOSTILE = '<script>alert("x")</script> & <img src="http://example.invalid/x.png"> </style></details>'
NOTES = (
    "All cases are patches of ONE made-up picture; groups are 12 strips of it. Intervals and p-values speak of "
    "strips of this picture, not of patients, slides or scanners.",
    "Patches of a strip overlap, so far fewer than 48 of them are independent.",
)


def synthetic_table(
    *, dataset: str = "skin", fraction: float = 1.0, n_units: int = 12, recipes: int = 7, seeds: int = 3
) -> Table:
    """Made-up results of one data set and label fraction, judged by the real statistics."""
    rng = np.random.default_rng([int(1000 * fraction), n_units, recipes])
    names = list(RECIPES)[:recipes]
    unit = rng.normal(0, 0.05, n_units)
    centre = {name: RECIPES[name][3] - 0.16 * (1 - fraction) * (1 + (RECIPES[name][2] is None)) for name in names}
    values = {name: np.clip(centre[name] + unit + rng.normal(0, 0.025, n_units), 0, 1) for name in names}
    found = settle(
        [
            compare_units(
                values[a], values[b], unit="strip", margin=0.02, arms=Arms(a=a, b=b, metric="balanced accuracy")
            )
            for a, b in combinations(names, 2)
        ]
    )
    ranked = [_ranked(name, values[name], seeds, rng) for name in names]
    return Table(
        dataset=dataset,
        label_fraction=fraction,
        unit="strip",
        n_units=n_units,
        n_cases=48 * n_units,
        classes=CLASSES,
        recipes=tuple(sorted(ranked, key=lambda r: -(r.estimate.mean or 0))),
        pairs=tuple(_pair(c.as_row(), rng) for c in found),
        validation_curves=tuple(_curve(n, centre[n], rng) for n in names),
        loss_curves=tuple(_curve(n, centre[n], rng, loss=True) for n in names),
        layers=tuple(_layer(n, i, s, rng) for n in names for i, s in enumerate(STAGES)),
        similarity={a: {b: float(rng.uniform(0.2, 0.9)) for b in names if b != a} for a in names},
        similarity_baseline=0.47,
        notes=NOTES,
    )


def synthetic_summary(tables: tuple[Table, ...] | None = None, **changes: object) -> Summary:
    """A made-up study: 7 recipes, 3 seeds, 4 folds, 12 strips, two label fractions, two failed runs."""
    if tables is None:
        tables = (synthetic_table(), synthetic_table(fraction=0.25))
    runs = tuple(
        _run(t, r.name, fold, seed) for t in tables for r in t.recipes for fold in range(4) for seed in range(3)
    )
    plans = {r.name: _plan(r) for t in tables[:1] for r in t.recipes}
    card = {
        "name": "efficientnet_lite0-synthetic", "title": "A made-up network", "licence": "Apache-2.0",
        "commercial use": "allowed", "origin": "pypi:made-up==0.1.0#made_up/models/weights-with-a-long-name-57934.pth",
        "sha256": "5793" * 16, "has seen": ["imagenet-1k"], "proof": "fingerprint",
    }  # fmt: skip
    data = {
        "name": "skin", "title": "Made-up strips of skin", "licence": "CC0-1.0", "cases": 576, "unit": "strip",
        "units": 12, "classes": dict.fromkeys(CLASSES, 144), "image": {"channels": ["grey"], "shape": [48, 48]},
        "origin": {"picture": {"origin": "https://example.invalid/skin", "sha256": "ab" * 32}}, "notes": list(NOTES),
    }  # fmt: skip
    whole = Summary(
        study="synthetic",
        metric="balanced_accuracy",
        metric_title="balanced accuracy",
        larger_is_better=True,
        baseline="scratch",
        headline=headline(tables, "scratch", "balanced accuracy"),
        tables=tables,
        efficiency=efficiency_curves(tables),
        runs=runs,
        failures=(_failed("mean-var", 2), _failed("lowest-2", 1)),
        planned=len(runs) + 5,
        data_cards=(data,),
        weight_cards=(card,),
        plans=plans,
        environment={"allograft": "0.1.0", "python": "3.11.7", "device": "cpu, 32-true, 2 threads per process"},
        commands=("allograft study study.yaml --out results/synthetic",),
        threshold="95 % of the baseline's best validation score",
        warnings=(
            'contamination: weights "efficientnet_lite0-synthetic" may have seen imagenet-1k, which overlaps with '
            'cohort "skin"; scores on it are too good to be taken as scores on new patients.',
            "skin: 4 pairs of cases look alike across folds.",
        ),
    )
    return whole.model_copy(update=changes)


def _ranked(name: str, values: np.ndarray, seeds: int, rng: np.random.Generator) -> Ranked:
    start, tuning, source, _ = RECIPES[name]
    mean = float(values.mean())
    fates = dict(zip(("copied", "adapted", "sampled", "computed", "fresh"), SHARES[start], strict=True))
    metrics = {"auroc": 0.6 * mean + 0.4, "balanced_accuracy": mean, "accuracy": mean - 0.004}
    metrics |= {"f1": mean - 0.01, "log_loss": 1.3 * (1 - mean) + 0.1, "brier": 0.5 * (1 - mean), "ece": 0.04}
    got = 0.25 if name == "linear-probe" else 0.0 if name == "frozen-random" else 1.0
    return Ranked(
        name=name,
        estimate=_estimate(values),
        by_metric={m: _estimate(v + 0.3 * (values - mean)) for m, v in metrics.items()},
        by_class={
            m: {c: float(np.clip(mean + rng.normal(0, 0.06), 0, 1)) for c in CLASSES}
            for m in ("balanced_accuracy", "auroc")
        },
        by_seed={str(s): mean + float(rng.normal(0, 0.008)) for s in range(seeds)},
        lrs=(3e-4,) * 12,
        runs=12,
        seconds=float(rng.uniform(8, 40)),
        coverage={**fates, "frozen": 0.998 if tuning == "frozen" else 0.0},
        start=start,
        tuning=tuning,
        source=source,
        objective="supervised",
        procedure="finetune",
        encoder="timm:tf_efficientnet_lite0",
        steps_to_threshold=None if got < 0.5 else float(rng.integers(4, 20) * 10),
        reached=got,
    )


def _estimate(values: np.ndarray) -> Estimate:
    found = mean_interval(values) if len(values) > 1 else None
    low, high = (found.low, found.high) if found else (None, None)
    method = found.method if found else ""
    return Estimate(mean=float(values.mean()), low=low, high=high, n_units=len(values), method=method)


def _pair(row: dict[str, object], rng: np.random.Generator) -> Pair:
    fields = ("a", "b", "difference", "test", "unit", "n_units", "p", "p_adjusted", "verdict", "margin", "sentence")
    ci = row["ci"]
    assert isinstance(ci, list)
    kept = {name: row[name] for name in fields}
    needed = row["units_needed"]
    return Pair(**kept, ci=None if None in ci else tuple(ci), p_seeds=float(rng.uniform()), units_needed=needed)


def _curve(name: str, end: float, rng: np.random.Generator, *, loss: bool = False) -> Curve:
    x = np.linspace(0, 300, 13)[1:]
    rise = 1 - np.exp(-x / (40 if RECIPES[name][2] else 90))
    mean = (1.4 - (1.4 - 1.6 * (1 - end)) * rise if loss else 0.25 + (end - 0.25) * rise) + rng.normal(0, 0.008, len(x))
    half = 0.02 + 0.05 * (1 - rise)
    parts = {"mean": mean, "low": mean - half, "high": mean + half, "x": x}
    return Curve(recipe=name, **{k: tuple(map(float, v)) for k, v in parts.items()})


def _layer(name: str, i: int, stage: str, rng: np.random.Generator) -> Layer:
    frozen = RECIPES[name][1] == "frozen"
    speed = 0.02 if RECIPES[name][2] else 0.06
    return Layer(
        recipe=name,
        stage=stage,
        change=None if frozen else speed * (i + 1) + float(rng.uniform(0, 0.02)),
        cka=1.0 if frozen else max(0.1, 1 - 2 * speed * (i + 1) + float(rng.uniform(-0.04, 0))),
        svcca=max(0.1, 1 - 2.0 * speed * (i + 1)),
        cca=None if i > 5 else max(0.1, 1 - 2.5 * speed * (i + 1)),
    )


def _plan(r: Ranked) -> dict[str, object]:
    value = {"full": "copy", "mean_var": "sample"}.get(r.start, "fresh")
    learns = "frozen" if r.tuning == "frozen" else "x1"
    rows = [
        {
            "stage": s,
            "value": value,
            "learns": learns,
            "tensors": 36,
            "numbers": 15030 * (i + 1),
            "why": f"{r.start} start",
        }
        for i, s in enumerate(STAGES)
    ]
    notes = ["input: 3 channels in [0, 1], axes HW", "input: mean and std of 3 channels are averaged for 1"]
    return {
        "rows": rows,
        "coverage": "coverage  99.8 % copied · 0.2 % fresh    problems: none",
        "notes": notes,
        "unused": 2,
    }


def _run(table: Table, recipe: str, fold: int, seed: int) -> RunRow:
    key = RunKey(
        id=f"{abs(hash_of(recipe, fold, seed, table.label_fraction)):016x}", recipe=recipe, dataset=table.dataset,
        fold=fold, seed=seed, label_fraction=table.label_fraction,
    )  # fmt: skip
    return RunRow(key=key, lr=3e-4, score=0.8 + 0.01 * fold + 0.001 * seed, seconds=12.5, peak_memory_mb=1402.7)


def hash_of(*parts: object) -> int:
    """A number that is the same in every process, unlike `hash`."""
    return int.from_bytes("/".join(map(str, parts)).encode()[-7:].rjust(7, b"0"), "big")


def _failed(recipe: str, fold: int) -> Failed:
    key = RunKey(id="f" * 16, recipe=recipe, dataset="skin", fold=fold, seed=1, label_fraction=1.0)
    trace = f'Traceback (most recent call last):\n  File "loop.py", line 120, in fit\n    {HOSTILE}\nNumericsError'
    message = f"step 40: the loss is not finite (cases 17, 23). {HOSTILE}"
    return Failed(key=key, error="NumericsError", message=message, traceback=trace)

"""Images of a pre-training: opened from anywhere, without those that are to be kept out, some groups held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from allograft.catalog import DATASETS
from allograft.core.config import read_yaml
from allograft.core.errors import ConfigError, DataError, did_you_mean
from allograft.core.seeds import seed_for
from allograft.data.audit_images import image_problems
from allograft.data.audit_volumes import volume_problems
from allograft.data.cohort import Cohort
from allograft.data.image_cohort import NOTHING, open_images
from allograft.data.look import Look, look
from allograft.data.preprocess import Preprocess
from allograft.data.sniff import open_data
from allograft.study.folding import cut_folds, open_cohorts, tested_cases
from allograft.study.grid import Study, study_from
from allograft.study.made_with import image_contents
from allograft.study.pretraining_spec import ImagesSpec
from allograft.study.store import RunStore

__all__ = ["ANY_NAME", "Gathered", "gather", "hold_out", "looked_at"]

ANY_NAME = frozenset({"data", "dataset", "images", "train", "cases", "set", "scans", "imgs", "png", "nifti", "dicom"})
"""Names of files and folders that say nothing about which data they hold."""

UNKNOWN_PATIENTS = frozenset({"image", "folder"})
"""Units under which nobody said who the patient is."""


FEW = 5
"""Groups up to which a single one is held out at least, from there on two (ours)."""


@dataclass(frozen=True)
class Gathered:
    """The images of a pre-training.

    Args:
        images: those that may be learnt from or held out; with labels where these are looked at.
        contents: by case of `images`, what its files hold.
        left_out: contents of images that the data hold besides.
        notes: what was left out and why, without names of anybody.
    """

    images: Cohort
    contents: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Kept:
    """What must not be learnt from: contents of images, and names of patients."""

    contents: set[str] = field(default_factory=set)
    patients: set[str] = field(default_factory=set)


def gather(data: str, spec: ImagesSpec, *, base: Path) -> Gathered:
    """Open images and leave out what is to be kept out: a fixed test part, and what `without` names.

    Args:
        data: a path, or the name of a known data set.
        spec: which of them.
        base: folder that relative paths start from.

    Raises:
        ConfigError: a setting does not fit the data.
        DataError: there are no images, or none is left.
    """
    whole = _opened(data, spec, base)
    contents, notes, drop = image_contents(whole), list(whole.notes), set[str]()
    fixed = {case.id for case in whole if case.split == "test"}
    if fixed:
        notes.append(f"{len(fixed)} images of the test part that the data fix were left out")
    for name in spec.without:
        found = _of(whole, contents, _kept_out(name, base))
        notes.append(f"{len(found)} of {len(whole)} images were left out, without {name}")
        drop |= found
    drop |= fixed
    rest = whole.where(lambda case: case.id not in drop)
    if not len(rest):
        msg = (
            f"{data}: all {len(whole)} images are to be left out ({'; '.join(notes)}), none is left to learn from. Add "
            "images, keep less out, or say which images share a patient (--group, --group-pattern)."
        )
        raise DataError(msg)
    left = tuple(one for case in sorted(drop) for one in contents[case])
    return Gathered(rest, {case.id: contents[case.id] for case in rest}, left, tuple(dict.fromkeys(notes)))


def hold_out(images: Cohort, share: float, seed: int) -> tuple[Cohort, Cohort]:
    """Return the images to learn from and those to look at: a fixed part "val", else groups that are drawn.

    Raises:
        DataError: there are fewer than two groups.
    """
    fixed = images.where(lambda case: case.split == "val")
    if 0 < len(fixed) < len(images):
        return images.where(lambda case: case.split != "val"), fixed
    groups = sorted(images.groups)
    if len(groups) < 2:
        msg = (
            f"{images.name}: all {len(images)} images are of one {images.unit}, so none can be held out to see how "
            "learning goes. Say which images share a patient (--group, --group-pattern), or add images."
        )
        raise DataError(msg)
    order = np.random.default_rng(seed_for("held out images", seed)).permutation(len(groups))
    least = 2 if len(groups) > FEW else 1  # of two, views can be looked for among those of another
    count = min(max(least, round(share * len(groups))), len(groups) - 1)
    held = {groups[i] for i in order[:count]}
    return images.where(lambda case: case.group not in held), images.where(lambda case: case.group in held)


def looked_at(
    images: Cohort, preprocess: Preprocess, *, skip: bool, on_image: Callable[[int, int], None]
) -> tuple[dict[str, str], list[str]]:
    """Look at every image once; return the readers' messages of those that cannot be read, and warnings.

    Args:
        images: the images.
        preprocess: what is done to them; what it settles is no problem.
        skip: whether unreadable images may be left out.
        on_image: called with how many are done, of how many.

    Raises:
        DataError: images cannot be read, with each file's message, or they do not belong together.
    """
    looks, failed = list[Look](), dict[str, str]()
    for done, case in enumerate(images, start=1):
        seen = look(case)
        if isinstance(seen, str):
            failed[case.id] = seen
        else:
            looks.append(seen)
        on_image(done, len(images))
    if failed and not skip:
        lines = "\n  ".join([*list(failed.values())[:20], *(["..."] if len(failed) > 20 else [])])
        msg = (
            f"{images.name}: {len(failed)} of {len(images)} images cannot be read. Mend them or take them away; "
            f"--skip-unreadable leaves them out.\n  {lines}"
        )
        raise DataError(msg)
    sizes = "Whole images must be of one size; of others windows are read"
    problems = [*image_problems(looks, sizes), *volume_problems(looks, preprocess)]
    wrong = [problem for problem in problems if problem.severity == "error"]
    if wrong:
        shown = "\n  ".join(f"{problem.text} ({', '.join(problem.cases[:5])})" for problem in wrong)
        msg = f"{images.name}: these images cannot be learnt from together.\n  {shown}"
        raise DataError(msg)
    return failed, [problem.text for problem in problems]


def _opened(data: str, spec: ImagesSpec, base: Path) -> Cohort:
    """Return the images, named, with labels where these are to be looked at."""
    path = base / data
    if not path.exists() and data in DATASETS:
        found = DATASETS[data]().prepare()
        named = [name for name in ("image", "group", "domain", "split", "id", "group_pattern") if getattr(spec, name)]
        if named:
            msg = f'"{data}" is a known data set, whose patients are known: leave {named[0]} out.'
            raise ConfigError(msg)
    elif not path.exists():
        msg = f"{data}: no such file or folder, and no data set of that name. {did_you_mean(data, DATASETS)}"
        raise DataError(msg)
    elif spec.labels:
        found = open_data(path, manifest=spec.manifest(), folder=spec.folder())
    else:
        found = open_images(path, manifest=spec.manifest(), folder=spec.folder())
    named_so = replace(found, name=spec.name or _name(found.name, path), channels=spec.channels or found.channels)
    if not spec.labels:
        return replace(named_so.without_targets(), task=NOTHING, also=())
    if found.task.kind not in {"binary", "multiclass"}:
        msg = f"labels: classes can be looked at, {found.name} has a {found.task.kind} task. Leave labels out."
        raise ConfigError(msg)
    return replace(named_so, also=())


def _name(name: str, path: Path) -> str:
    """Return a data set's name; with that of the folder above where it says nothing."""
    return f"{path.resolve().parent.name}-{name}" if name.casefold() in ANY_NAME else name


def _kept_out(name: str, base: Path) -> _Kept:
    """Return what a study tests on, or what a table or folder holds.

    Raises:
        ConfigError, DataError: it is none of these.
    """
    path, kept = base / name, _Kept()
    study = _study(path)
    if study is None:
        cohorts: Iterable[Cohort] = [open_images(path)]
    else:
        spec, start = study
        opened = open_cohorts(spec, start)
        tested = tested_cases(spec, opened, cut_folds(spec, opened))
        cohorts = [opened[data].subset(ids) for data, ids in tested.items()]
    for cohort in cohorts:
        kept.contents |= {one for each in image_contents(cohort).values() for one in each}
        kept.patients |= set() if cohort.unit in UNKNOWN_PATIENTS else set(cohort.groups)
    return kept


def _study(path: Path) -> tuple[Study, Path] | None:
    """Return the study of a file or a folder with the folder that its paths start from, None where it is no study."""
    if path.is_dir() and (path / "study.json").exists():
        spec = RunStore(path).study()["spec"]
        return Study.model_validate(spec["study"]), Path(spec["base"])
    if path.suffix.lower() in {".yaml", ".yml"}:
        return study_from(read_yaml(path), where=str(path)), path.resolve().parent
    return None


def _of(whole: Cohort, contents: dict[str, tuple[str, ...]], kept: _Kept) -> set[str]:
    """Return the cases of an image that is to be kept out, and all others of their patients."""
    groups = {case.group for case in whole if not kept.contents.isdisjoint(contents[case.id])}
    if whole.unit not in UNKNOWN_PATIENTS:
        groups |= kept.patients & set(whole.groups)
    return {case.id for case in whole if case.group in groups}

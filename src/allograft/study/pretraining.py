"""Pre-training: an encoder learns from images without labels and becomes a source like any other.

    SOURCE/pretraining.json     settings, data and device: what a continued run must agree on
    SOURCE/work/                prepared images and checkpoints, gone when it is finished
    SOURCE/stages.json, plan-table.json, pretext.npz, made-with.json, outcome.json
    SOURCE/weights.safetensors, card.yaml      the card comes last: with it the source is finished

One training loop: the stage is trained by the lab of a run, as the first stage of the procedure `self_supervised` is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from allograft.core.errors import ConfigError
from allograft.core.private import home
from allograft.data.cohort import Cohort
from allograft.data.normalise import fit_statistics, normaliser
from allograft.data.preprocess import Preprocess
from allograft.data.store import Store
from allograft.data.store_key import store_key
from allograft.metrics import METRICS
from allograft.objectives.pretext import IMAGES, Pretext
from allograft.starts.full import Full
from allograft.starts.scratch import Scratch
from allograft.study.arm import Arm
from allograft.study.data_spec import fingerprint, known_preprocess
from allograft.study.grid import Search
from allograft.study.lab import RunLab
from allograft.study.outcome import RunKey
from allograft.study.pool import Pool
from allograft.study.pretraining_folder import STAGES, Facts, Place, Pretrained, finish
from allograft.study.pretraining_images import Gathered, gather, hold_out, looked_at
from allograft.study.pretraining_spec import Pretraining
from allograft.study.recipe import Recipe
from allograft.study.sources import find_card, open_source, require_licence
from allograft.study.windows import whole_or_windows
from allograft.train.callbacks import Callback
from allograft.train.device import Device, processors
from allograft.tunings.full import FullTuning

__all__ = ["Watching", "pretrain"]


@dataclass(frozen=True, kw_only=True)
class Watching:
    """Who is told how it goes.

    Args:
        on_image: called while images are looked at and prepared, with how many are done, of how many.
        on_unreadable: called with what is said of each file that is left out; it names the file, and is not kept.
        callbacks: watchers of the training.
    """

    on_image: Callable[[int, int], None] = lambda done, total: None
    on_unreadable: Callable[[str], None] = lambda message: None
    callbacks: tuple[Callback, ...] = ()


def pretrain(
    data: str | Path,
    settings: Pretraining,
    out: Path,
    *,
    base: Path = Path(),
    devices: int = 1,
    watching: Watching | None = None,
) -> Pretrained:
    """Pre-train an encoder on images without labels; `out` is a source for studies afterwards.

    A folder that holds a part of the same pre-training is continued, one that is finished is read; on the CPU the
    result is bit for bit the same wherever it was interrupted.

    Args:
        data: a table, a folder of images at any depth, or the name of a known data set, whose labels are left out.
        settings: how.
        out: the source's folder; new, or of this pre-training.
        base: folder that relative paths start from.
        devices: processes; above 1 each is started by torchrun and calls this.
        watching: who is told how it goes, None for nobody.

    Raises:
        ConfigError: settings, network and images do not go together, or a licence is not accepted.
        DataError: images cannot be read or used; names the files.
        PlanError: the source's weights do not fit the network.
        ResumeError: the folder holds another pre-training, with what differs, or other files.
    """
    place = Place(out)
    device = _device(place, devices)
    device.require_started()
    if settings.source is not None:
        require_licence(find_card(settings.source, base), settings.accept_licence)
    with device.session() as live:
        job = _Job(str(data), settings, place, base, device, watching or Watching())
        ready = live.from_first(lambda: _first(job))
        if ready is None:
            return place.finished()
        lab, facts = _lab(job, ready)
        started = lab.start(tasks=cast("Pretext", settings.method).tasks(lab.net.dims))
        live.from_first(place.begin)
        net = lab.train("pretext", started, tuning=FullTuning())
        live.from_first(lambda: finish(place, lab, net, ready.gathered, facts) if device.leads else None)
    return place.finished()


@dataclass(frozen=True)
class _Job:
    """What is asked for."""

    data: str
    settings: Pretraining
    place: Place
    base: Path
    device: Device
    watching: Watching


class _Ready(NamedTuple):
    """What the first process has made ready for all."""

    gathered: Gathered
    store: Path
    warnings: tuple[str, ...]


def _device(place: Place, devices: int) -> Device:
    """Return the device that the folder was begun with, or one resolved now."""
    begun = place.device()
    if begun is not None and begun.devices == devices:
        return begun
    threads = max(1, processors() // devices)
    if devices == 1:
        return Device.resolve(threads=threads)
    # Processes that each measured what is fastest could disagree.
    return Device.resolve(devices=devices, precision="32-true", threads=threads)


def _first(job: _Job) -> _Ready | None:
    """Claim the folder and prepare the images; None where all is finished."""
    settings, place = job.settings, job.place
    card = find_card(settings.source, job.base).content_id() if settings.source else None
    asked = {"data": job.data, "settings": settings.model_dump(mode="json"), "weights": card}
    asked["device"] = job.device.model_dump(mode="json")
    place.require_same(asked)
    gathered = gather(job.data, settings.images, base=job.base)
    how = _preprocess(job)
    key = fingerprint(gathered.images, store_key(gathered.images, how, home()))
    content = place.short(key)
    place.claim({**asked, "content": content})
    if place.done:
        place.clear()
        return None
    gathered, warnings = _readable(job, gathered, how, content)
    store = Store.build(gathered.images, how, place.work / "images", progress=job.watching.on_image, ragged=True)
    return _Ready(gathered, store.path, (*gathered.notes, *warnings))


def _preprocess(job: _Job) -> Preprocess:
    """Return what is done to every image: what is set, laid over what a known data set recommends."""
    known = known_preprocess(job.data, job.base) or Preprocess()
    given = job.settings.preprocess.model_dump(exclude_unset=True) if job.settings.preprocess else {}
    return Preprocess.from_data({**known.model_dump(), **given}, where="preprocess")


def _readable(job: _Job, gathered: Gathered, how: Preprocess, content: str) -> tuple[Gathered, list[str]]:
    """Return the images that can be read, and warnings; they are looked at once."""
    images, skip = gathered.images, job.settings.images.skip_unreadable
    kept = job.place.looked_at(content)
    if kept is None:
        kept = looked_at(images, how, skip=skip, on_image=job.watching.on_image)
        job.place.keep_looks(content, *kept)
    failed, warnings = kept
    for message in failed.values():
        job.watching.on_unreadable(message)
    if failed:
        warnings = [f"{len(failed)} images cannot be read and were left out", *warnings]
    rest = images.where(lambda case: case.id not in failed)
    return Gathered(rest, gathered.contents, gathered.left_out, gathered.notes), warnings


def _lab(job: _Job, ready: _Ready) -> tuple[RunLab, Facts]:
    """Return the lab that trains, and what is known of the data."""
    settings, images = job.settings, ready.gathered.images
    store = Store.open(ready.store, verify=False)
    learn, held = hold_out(images, settings.held_out, settings.seed)
    recipe = _recipe(job, store)
    pool = _pool(job, store, images, learn)
    arm = Arm(
        recipe=recipe,
        pool=pool,
        device=job.device,
        source=open_source(settings.source, job.base) if settings.source else None,
        search=Search(lrs=()),
        select_by="metric",
        augment=settings.augment,
        cache=job.place.work / "features",
        callbacks=job.watching.callbacks,
    )
    key = RunKey(
        id=job.place.name, recipe=recipe.name, dataset=images.name, fold=0, seed=settings.seed, label_fraction=1.0
    )
    cohorts = {"train": learn, "val": held, IMAGES: learn.without_targets(), f"val:{IMAGES}": held.without_targets()}
    facts = Facts(
        data=images.name,
        method=recipe.name,
        unit=images.unit,
        learnt=(len(learn), len(learn.groups)),
        held_out=(len(held), len(held.groups)),
        left_out=len(ready.gathered.left_out),
        shape=pool.shape,
        windows=pool.patches is not None,
        net=recipe.net,
        notes=tuple(dict.fromkeys((*ready.warnings, pool.normalise.note))),
    )
    return RunLab(key=key, arm=arm, cohorts=cohorts, where=job.place.work / STAGES), facts


def _recipe(job: _Job, store: Store) -> Recipe:
    """Return the settings as those of a recipe.

    Raises:
        ConfigError: the network has other axes than the images, or a decoder that nothing trains.
    """
    settings = job.settings
    net = settings.with_dims(3 if store.dims == 3 else 2)
    if net.dims != store.dims:
        msg = (
            f"the images of {job.data} are {store.dims}-D, the network is {net.dims}-D. Leave its dims out, or say "
            f"{{encoder: {net.encoder}, dims: {store.dims}}}."
        )
        raise ConfigError(msg)
    tasks = cast("Pretext", settings.method).tasks(net.dims)
    if net.decoder and not any(task.dense for task in tasks.values()):
        msg = f'net.decoder: "{net.decoder}" is not trained by {settings.method.name}. Leave it out; a study adds it.'
        raise ConfigError(msg)
    start = settings.start or (Full() if settings.source else Scratch())
    return Recipe(
        name=settings.method.name,
        net=net,
        source=settings.source,
        start=start,
        objective=settings.method,
        optim=settings.optim,
        budget=settings.budget,
        augment=settings.augment,
    )


def _pool(job: _Job, store: Store, images: Cohort, learn: Cohort) -> Pool:
    """Return the images under the input contract of the source, or of the images that are learnt from."""
    settings, names = job.settings, images.channel_names(store.channels)
    expects = find_card(settings.source, job.base).expects if settings.source else None
    if expects is None and store.space == "unit":
        expects = fit_statistics(store, learn.ids)
    how = normaliser(expects, store.space, store.channels, preprocess=store.index.preprocess, names=names)
    metric = METRICS[images.task.primary_metric]
    patches = whole_or_windows(settings.patches, store, images.name)
    return Pool(whole=images, store=store, normalise=how, metric=metric, patches=patches)

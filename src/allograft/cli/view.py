"""allograft view: a page that shows a segmented case in slices and in 3-D."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from allograft.cli.console import AsJson, emit_json, out
from allograft.core.errors import ConfigError

if TYPE_CHECKING:
    from allograft.data.io.image import Image
    from allograft.web.viewer import LabelMap

__all__ = ["view"]


def view(
    run: Annotated[
        Path | None, typer.Argument(metavar="[DIR_OR_RUN]", help="A study's folder (its winner), or a run's.")
    ] = None,
    case: Annotated[str, typer.Option(help="Pseudonym of a test case; by default the one that scores worst.")] = "",
    image: Annotated[Path | None, typer.Option(help="An image file or DICOM series, in place of a run.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Its labels: NIfTI, PNG, DICOM SEG, RTSTRUCT.")] = None,
    truth: Annotated[Path | None, typer.Option(help="True labels beside them.")] = None,
    names: Annotated[str, typer.Option(help="Names of the labels 1, 2, ..., with commas between.")] = "",
    dataset: Annotated[str, typer.Option(help="Of a study with several data sets: whose ranking counts.")] = "",
    out_file: Annotated[Path, typer.Option("--out", help="The HTML file.")] = Path("view.html"),
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write one page with the image and its labels; it opens in a browser without a network."""
    from allograft.core.atomic import write_text
    from allograft.web.viewer import niivue_script, viewer_page

    if (run is None) == (image is None):
        msg = "view: give either a study's or a run's folder, or --image with --labels."
        raise ConfigError(msg)
    if out_file.exists() and not force:
        msg = f"{out_file}: exists already and is not overwritten. Choose another --out, or say --force."
        raise ConfigError(msg)
    given = _Given(labels, truth, tuple(filter(None, names.split(","))))
    found = _of_run(run, case, dataset) if run is not None else _of_files(image, given)
    page = viewer_page(
        found.image, found.maps, found.classes, title=found.title, said=found.said, niivue=niivue_script()
    )
    write_text(out_file, page)
    if as_json:
        emit_json({"page": str(out_file), "title": found.title, "said": list(found.said), "cases": list(found.cases)})
        return
    for sentence in (found.title, *found.said):
        out.print(sentence, markup=False)
    if found.cases:
        out.print(f"test cases of this run, the worst first: {', '.join(found.cases)}", markup=False)
    out.print(f"{out_file} ({len(page) / 1e6:.1f} MB). It holds the image itself: it is as private.", markup=False)


class _Given(NamedTuple):
    """Label files and their names."""

    labels: Path | None
    truth: Path | None
    names: tuple[str, ...]


class _Found(NamedTuple):
    """What is to be shown."""

    image: Image
    maps: list[LabelMap]
    classes: tuple[str, ...]
    title: str
    said: tuple[str, ...]
    cases: tuple[str, ...] = ()


def _of_run(path: Path, case: str, dataset: str) -> _Found:
    """Open a test case of a study's winner or of a run."""
    from allograft.study.view_case import view_case
    from allograft.study.winner import choose
    from allograft.web.viewer import LabelMap

    chosen = choose(path, dataset=dataset)
    if chosen.study is None:
        msg = (
            f"{path}: a bundle on its own has no test cases. Give a study's or a run's folder, or --image and --labels."
        )
        raise ConfigError(msg)
    found = view_case(chosen.study, chosen.runs, case)
    maps = [LabelMap("prediction", found.labels)]
    maps += [] if found.truth is None else [LabelMap("truth", found.truth)]
    key = found.key
    said = (
        f"Recipe {key.recipe}, data set {key.dataset}, fold {key.fold}, seed {key.seed}, run {key.id}.",
        f"{found.said[:1].upper()}{found.said[1:]}.",
    )
    return _Found(found.image, maps, found.task.classes, f"Case {found.name}", said, found.others)


def _of_files(path: Path | None, given: _Given) -> _Found:
    """Open an image with label files on its grid."""
    from allograft.data.case import ImageRef
    from allograft.data.io.image import read_image
    from allograft.data.io.mask import read_mask
    from allograft.web.viewer import LabelMap

    assert path is not None, "checked before"
    if given.labels is None and given.truth is None:
        msg = "view: --image needs --labels (or --truth) beside it."
        raise ConfigError(msg)
    ref = ImageRef(path)
    image = read_image(ref)
    files = {"prediction": given.labels, "truth": given.truth}
    maps = [
        LabelMap(name, read_mask(ImageRef(file), onto=ref, dims=image.dims).array[0])
        for name, file in files.items()
        if file is not None
    ]
    said = tuple(f"{name}: {file.name}" for name, file in files.items() if file is not None)
    return _Found(image, maps, ("background", *given.names), path.name, said)

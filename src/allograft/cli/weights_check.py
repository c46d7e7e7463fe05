"""allograft weights check: what a file of weights is, what fits, and whether its function is proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allograft.cli.console import AsJson, emit_json, out, table

if TYPE_CHECKING:
    from allograft.weights.checking.check import Check

__all__ = ["check", "fingerprint"]

_SHOWN = 12

File = Annotated[Path, typer.Argument(help="The file of weights.")]


def check(
    file: File,
    card: Annotated[str | None, typer.Option(help="A card's name or file; none: the file is recognised.")] = None,
    net: Annotated[str | None, typer.Option(help='Encoder, as in a recipe: "resnet50", "timm:NAME".')] = None,
    container: Annotated[str | None, typer.Option(help='Where the tensors lie in the file: "state_dict".')] = None,
    dims: Annotated[int | None, typer.Option(min=2, max=3, help="Spatial axes of the encoder.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Input channels of the encoder.")] = None,
    width: Annotated[float | None, typer.Option(help="Multiple of its channel counts.")] = None,
    like: Annotated[str | None, typer.Option(help="Weights known to be right: a file, a card or a run.")] = None,
    least: Annotated[float, typer.Option(min=0, max=1, help="Least share that must arrive.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Say what a file of weights is and whether it fits; exits 0 only where it fits and is proven."""
    from allograft.study.check_weights import Asked, check_file
    from allograft.weights.coverage import Thresholds

    asked = Asked(net=net, dims=dims, in_channels=channels, width=width, container=container)
    limits = Thresholds(tensors=least, numbers=least, norm=least)
    found = check_file(file, card, asked, like=like, least=limits, base=Path.cwd())
    if as_json:
        emit_json(found.model_dump(mode="json"))
    else:
        _show(found)
    if not found.ok:
        raise typer.Exit(1)


def fingerprint(
    file: File,
    card: Annotated[str, typer.Option(help="The card's file; it gets the fingerprint.")],
    write: Annotated[bool, typer.Option("--write", help="Write it into the card's file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take the fingerprint of a file that you trust, so that every other copy can be proven."""
    import yaml

    from allograft.core.atomic import write_text
    from allograft.core.errors import ConfigError
    from allograft.study.check_weights import take_fingerprint
    from allograft.study.sources import find_card

    known = find_card(card, Path.cwd())
    mark = take_fingerprint(file, known)
    if write:
        if not Path(card).is_file():
            msg = f'--write needs the file of a card, "{card}" is none.'
            raise ConfigError(msg)
        data = yaml.safe_load(Path(card).read_text(encoding="utf-8"))
        data["fingerprint"] = mark.model_dump(mode="json")
        write_text(Path(card), yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    if as_json:
        emit_json({"card": known.name, "fingerprint": mark.model_dump(mode="json")})
        return
    if write:
        out.print(f"{card}: fingerprint written.", markup=False)
        return
    out.print(yaml.safe_dump({"fingerprint": mark.model_dump(mode="json")}, sort_keys=False), markup=False)


def _show(found: Check) -> None:
    """Write a check for people: the verdict, stage by stage, what is missing and unused, what was tried."""
    verdict = "[bold green]ok[/]" if found.ok else f"[bold red]not ok: {found.cause}[/]"
    out.print(f"{found.file}: {verdict}")
    out.print(f"  {found.why}", markup=False)
    if found.format:
        inside = f", tensors at {', '.join(name or 'the top' for name in found.containers)}" if found.containers else ""
        out.print(f"  format: {found.format}{inside}", markup=False)
    for name in found.refused[:_SHOWN]:
        out.print(f"  not executed: {name}", markup=False)
    if found.net:
        out.print(f"  read as: {found.net}, card {found.card}, container {found.container or 'the top'}", markup=False)
        share = found.coverage
        text = f"{share.tensors:.1%} of tensors, {share.numbers:.1%} of numbers, {share.norm:.1%} of norm"
        out.print(f"  coverage: {text}    proof: {found.proof}", markup=False)
    _stages(found)
    _lists(found)
    _mends(found)


def _stages(found: Check) -> None:
    if not found.stages:
        return
    gaps = {row.stage: row for row in found.probe}
    rows = [
        (
            row.stage,
            f"{row.tensors} of {row.of_tensors}",
            f"{row.numbers} of {row.of_numbers}",
            f"{row.norm:.4g}",
            _gap(found, row.stage) if row.stage in gaps else "",
        )
        for row in found.stages
    ]
    table("coverage by stage", ("stage", "tensors", "numbers", "norm", "features differ by"), rows)


def _gap(found: Check, stage: str) -> str:
    gap = next(row.difference for row in found.probe if row.stage == stage)
    return "shape" if gap is None else f"{gap:.2g}"


def _lists(found: Check) -> None:
    if found.missing:
        rows = [(lack.name, list(lack.shape), lack.why, lack.closest) for lack in found.missing[:_SHOWN]]
        more = f", first {_SHOWN} of {len(found.missing)}" if len(found.missing) > _SHOWN else ""
        table(f"missing, as the card stands{more}", ("tensor", "shape", "why", "closest in the file"), rows)
    if found.unused:
        pairs = [(each.source, list(each.shape), each.why) for each in found.unused[:_SHOWN]]
        more = f", first {_SHOWN} of {len(found.unused)}" if len(found.unused) > _SHOWN else ""
        table(f"unused{more}", ("tensor in the file", "shape", "why"), pairs)


def _mends(found: Check) -> None:
    helped = [mend for mend in found.mends if mend.helped]
    for mend in helped:
        out.print(f"  mend ({mend.cause}): {mend.words}    proof: {mend.proof}", markup=False)
    if found.write:
        import yaml

        out.print("  to write into the card:", markup=False)
        out.print(yaml.safe_dump(dict(found.write), sort_keys=False), markup=False)
    rest: dict[str, int] = {}
    for mend in found.mends:
        if not mend.helped:
            rest[mend.cause] = rest.get(mend.cause, 0) + 1
    if rest and not found.ok:
        said = ", ".join(f"{cause} ({count})" for cause, count in rest.items())
        out.print(f"  tried without success: {said}", markup=False)

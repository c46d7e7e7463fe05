"""Made with: which cases, images and patients weights of one's own were made with, so that tests on them are found.

Nothing of it names anybody. Cases and patients are pseudonyms of this site; an image is the keyed hash of its file's
content, whose key lies beside it: whoever has the image can ask for it on any machine, nobody else learns anything.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from allograft.core.atomic import write_text
from allograft.core.config import Config
from allograft.core.errors import DataError
from allograft.core.private import home
from allograft.data.case import Case
from allograft.data.content import file_hashes
from allograft.weights.card import WeightSource

__all__ = ["MADE_WITH", "ImagesSeen", "MadeWith", "image_contents", "made_with"]

MADE_WITH = "made-with.json"
"""In a run's folder, or beside a card: what the network has learnt from or been chosen by."""

DIGITS = 24


class ImagesSeen(Config):
    """Images that were learnt from without labels.

    Args:
        data: names of the data sets that they are all images of.
        key: of the hashes.
        images: keyed hashes of what was seen.
        left_out: keyed hashes of what these data sets hold besides, and nothing has seen.
    """

    data: tuple[str, ...]
    key: str
    images: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Iterable[str], seen: Iterable[str], left_out: Iterable[str]) -> ImagesSeen:
        """Return the record of images whose contents `image_contents` gave; the same for the same images."""
        mine, others = sorted(set(seen)), sorted(set(left_out) - set(seen))
        key = hashlib.sha256("\n".join(["images seen", *mine, *others]).encode()).hexdigest()[:32]
        return cls(
            data=tuple(data),
            key=key,
            images=tuple(sorted(_keyed(one, key) for one in mine)),
            left_out=tuple(sorted(_keyed(one, key) for one in others)),
        )


class MadeWith(Config):
    """What a network was made with.

    Args:
        cases: pseudonyms of cases.
        groups: pseudonyms of patients (or other independent units) of the images in `seen`.
        seen: images, by pre-training.
    """

    cases: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    seen: tuple[ImagesSeen, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.cases or self.seen)

    def __or__(self, other: MadeWith) -> MadeWith:
        """Return what both were made with."""
        return MadeWith(
            cases=tuple(sorted({*self.cases, *other.cases})),
            groups=tuple(sorted({*self.groups, *other.groups})),
            seen=tuple(dict.fromkeys((*self.seen, *other.seen))),
        )

    def write(self, folder: Path) -> None:
        """Write it into a folder; pseudonyms of cases alone as a list, as all runs have them."""
        only = not self.groups and not self.seen
        data: Any = list(self.cases) if only else self.model_dump(mode="json")
        write_text(folder / MADE_WITH, json.dumps(data))

    def cases_seen(self, contents: Mapping[str, Sequence[str]]) -> set[str]:
        """Return the cases, given with the contents of their images, that an image was learnt from of."""
        return self._among(contents, lambda seen: {*seen.images})

    def data_known_by_image(self, contents: Mapping[str, Sequence[str]]) -> set[str]:
        """Return the data sets whose images are known one by one, of which some of these are: seen or left out."""
        names = set[str]()
        for seen in self.seen:
            alone = MadeWith(seen=(seen,))
            if alone._among(contents, lambda one: {*one.images, *one.left_out}):
                names |= set(seen.data)
        return names

    def _among(self, contents: Mapping[str, Sequence[str]], sums: Callable[[ImagesSeen], set[str]]) -> set[str]:
        found = set[str]()
        for seen in self.seen:
            known = sums(seen)
            found |= {case for case, held in contents.items() if any(_keyed(one, seen.key) in known for one in held)}
        return found


def made_with(card: WeightSource) -> MadeWith:
    """Return what weights of one's own were made with, nothing for other weights."""
    scheme, _, folder = card.origin.partition(":")
    here = Path(folder)
    for place in (here, here.parent) if here.name == "model" else (here,):
        if scheme == "run" and (path := place / MADE_WITH).is_file():
            data = json.loads(path.read_text(encoding="utf-8"))
            return MadeWith(cases=tuple(data)) if isinstance(data, list) else MadeWith.model_validate(data)
    return MadeWith()


def image_contents(cases: Iterable[Case]) -> dict[str, tuple[str, ...]]:
    """Return by case what its image files hold, as a hash each; files are read once and remembered.

    Raises:
        DataError: a file cannot be read.
    """
    found = list(cases)
    try:
        hashes = file_hashes((ref.path for case in found for ref in case.image), home() / "content.json")
    except OSError as error:
        msg = f"{error.filename}: cannot be read ({error.strerror}). Check the path, or take the image out."
        raise DataError(msg) from error
    return {c.id: tuple(f"{hashes[r.path]} {r.key} {r.row}" for r in c.image) for c in found}


def _keyed(content: str, key: str) -> str:
    return hmac.new(key.encode(), content.encode(), hashlib.sha256).hexdigest()[:DIGITS]

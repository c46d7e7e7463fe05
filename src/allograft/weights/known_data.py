"""Known data sets: other names of one set, and sets that are made out of another, for warnings of contamination.

A name that is not here means itself. What is here is said by the sets' own publications.
"""

from __future__ import annotations

import re

__all__ = ["overlap", "plain_name"]

_SAME: tuple[tuple[str, ...], ...] = (
    ("ImageNet-1k", "ImageNet", "ILSVRC2012", "ILSVRC 2012", "ILSVRC-2012", "ILSVRC", "ImageNet 2012", "IN1k"),
    ("ImageNet-21k", "ImageNet-22k", "IN21k", "IN22k", "ImageNet21k-P"),
    ("ChestX-ray14", "NIH ChestX-ray14", "NIH Chest X-ray", "NIH-CXR", "CXR8", "ChestX-ray8", "CXR14", "NIH CXR14"),
    ("CheXpert", "CheXpert-v1.0", "CheXpert-small", "CheXpert-v1.0-small"),
    ("MIMIC-CXR", "MIMIC-CXR-JPG"),
    ("iNat2021", "iNaturalist 2021", "iNaturalist2021"),
    ("iNat2021-mini", "iNat2021mini", "iNaturalist 2021 mini"),
    ("Kinetics-400", "K400", "Kinetics400"),
    ("Kinetics-700", "K700", "Kinetics700"),
    ("HAM10000", "ISIC 2018 task 3", "ISIC2018 task 3"),
    ("LIDC-IDRI", "LIDC"),
    ("LUNA16", "LUNA 2016"),
    ("LiTS", "LiTS17", "Liver Tumor Segmentation Challenge"),
    ("KiTS19", "KiTS 2019"),
    ("BTCV", "Synapse multi-organ", "Beyond the Cranial Vault"),
    ("MSD", "Medical Segmentation Decathlon", "Decathlon"),
    ("BraTS", "Brain Tumor Segmentation Challenge"),
    ("PatchCamelyon", "PCam"),
    ("CAMELYON16", "Camelyon 16"),
    ("UK Biobank", "UKB", "UKBB"),
)
_PARTS: tuple[tuple[str, str], ...] = (
    ("ImageNet-1k", "ImageNet-21k"),
    ("ImageNet-100", "ImageNet-1k"),
    ("Tiny ImageNet", "ImageNet-1k"),
    ("iNat2021-mini", "iNat2021"),
    ("Kinetics-400", "Kinetics-700"),
    ("ChestMNIST", "ChestX-ray14"),
    ("RSNA Pneumonia Detection Challenge", "ChestX-ray14"),
    ("RSNA Pneumonia", "ChestX-ray14"),
    ("DermaMNIST", "HAM10000"),
    ("NoduleMNIST3D", "LIDC-IDRI"),
    ("LUNA16", "LIDC-IDRI"),
    ("PathMNIST", "NCT-CRC-HE-100K"),
    ("BreastMNIST", "BUSI"),
    ("OrganAMNIST", "LiTS"),
    ("OrganCMNIST", "LiTS"),
    ("OrganSMNIST", "LiTS"),
    ("OrganMNIST3D", "LiTS"),
    ("MSD Task03 Liver", "LiTS"),
    ("Task03_Liver", "LiTS"),
    ("MSD Task01 BrainTumour", "BraTS"),
    ("Task01_BrainTumour", "BraTS"),
    ("PatchCamelyon", "CAMELYON16"),
)
_SHORTEST = 5


def plain_name(name: str) -> str:
    """Return a data set's first known name, without case, spaces and punctuation.

    >>> plain_name("ILSVRC 2012"), plain_name("NIH-CXR"), plain_name("Our Own Set 3")
    ('imagenet1k', 'chestxray14', 'ourownset3')
    """
    bare = _bare(name)
    return _FIRST.get(bare, bare)


def overlap(name: str, seen: str) -> int:
    """Return how sure it is that two names are of data that share images.

    Returns:
        2 for one data set, under whatever known name; 1 where one is made out of the other, or where one name only
        begins with the other ("BraTS", "BraTS 2021"); 0 for neither.
    """
    a, b = plain_name(name), plain_name(seen)
    if not a or not b:
        return 0
    if a == b:
        return 2
    if _part_of(a, b) or _part_of(b, a):
        return 1
    apart = {a, b} <= set(_FIRST.values())
    return int(not apart and min(len(a), len(b)) >= _SHORTEST and (a.startswith(b) or b.startswith(a)))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _part_of(small: str, large: str) -> bool:
    """Tell whether one set is made out of another, over however many steps."""
    above = {b for a, b in _INSIDE if a == small}
    return large in above or any(_part_of(each, large) for each in above)


_FIRST = {_bare(name): _bare(names[0]) for names in _SAME for name in names}
_INSIDE = [(plain_name(small), plain_name(large)) for small, large in _PARTS]

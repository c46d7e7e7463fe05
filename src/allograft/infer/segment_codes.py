"""Codes for segments: SNOMED CT where a class name is a usual one, else our own scheme with the name itself."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

__all__ = ["OWN_SCHEME", "SegmentCode", "code_of", "own_code"]

OWN_SCHEME = "99ALLOGRAFT"
"""Designator of codes that no public scheme gave; "99" marks private schemes."""


class SegmentCode(NamedTuple):
    """What a segment shows: names of SNOMED CT concepts as pydicom spells them, "" for the fallback.

    Attributes:
        category: keyword of the property's category.
        type: keyword of the property's type.
        side: "Left", "Right" or "".
    """

    category: str
    type: str
    side: str = ""


_STRUCTURE, _ABNORMAL, _TISSUE = "AnatomicalStructure", "MorphologicallyAbnormalStructure", "Tissue"

_KNOWN: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("tumor", "tumour", "neoplasm", "cancer"), (_ABNORMAL, "Neoplasm")),
    **dict.fromkeys(("lesion", "lesions"), (_ABNORMAL, "Lesion")),
    "nodule": (_ABNORMAL, "Nodule"),
    "mass": (_ABNORMAL, "Mass"),
    **dict.fromkeys(("edema", "oedema"), (_ABNORMAL, "Edema")),
    **dict.fromkeys(("necrosis", "necrotic"), (_ABNORMAL, "Necrosis")),
    **dict.fromkeys(("hemorrhage", "haemorrhage", "bleeding"), (_ABNORMAL, "Hemorrhage")),
    **dict.fromkeys(("csf", "cerebrospinal fluid"), ("BodySubstance", "CerebrospinalFluid")),
    **dict.fromkeys(("gm", "grey matter", "gray matter"), (_TISSUE, "GrayMatter")),
    **dict.fromkeys(("wm", "white matter"), (_TISSUE, "WhiteMatter")),
    **dict.fromkeys(("fat", "adipose tissue"), (_TISSUE, "AdiposeTissue")),
    "muscle": (_TISSUE, "Muscle"),
    "skin": (_STRUCTURE, "Skin"),
    "bone": (_STRUCTURE, "Bone"),
    **dict.fromkeys(("oesophagus", "esophagus"), (_STRUCTURE, "Esophagus")),
    **dict.fromkeys(("nucleus", "nuclei", "cell nucleus"), (_STRUCTURE, "Nucleus")),
    **dict.fromkeys(("small bowel", "small intestine"), (_STRUCTURE, "SmallIntestine")),
    **{
        name: (_STRUCTURE, name.title().replace(" ", ""))
        for name in (
            "liver", "kidney", "spleen", "pancreas", "lung", "brain", "heart", "aorta", "gallbladder", "stomach",
            "prostate", "vertebra", "duodenum", "colon", "inferior vena cava", "portal vein", "adrenal gland",
            "brain ventricle", "trachea", "spinal cord", "mandible", "thyroid", "eye", "hippocampus",
        )
    },
}  # fmt: skip


def code_of(name: str) -> SegmentCode:
    """Return what a class name means.

    >>> code_of("kidney_left")
    SegmentCode(category='AnatomicalStructure', type='Kidney', side='Left')
    >>> code_of("zone 7").type
    ''
    """
    words = [word for word in re.split(r"[\s_\-]+", name.casefold()) if word]
    sides = [word for word in words if word in {"left", "right"}]
    side = sides[0].title() if len(sides) == 1 else ""
    plain = " ".join(word for word in words if not side or word != side.lower())
    known = _KNOWN.get(plain) or _KNOWN.get(plain.removesuffix("s"))
    return SegmentCode(*known, side) if known else SegmentCode(_TISSUE, "")


def own_code(name: str) -> str:
    """Return a code value of at most 16 characters for a name; different names have different ones.

    >>> own_code("zone 7"), own_code("adenocarcinoma in situ"), own_code("adenocarcinoma invasive")
    ('ZONE_7', 'ADENOCARCIN_9C56', 'ADENOCARCIN_3730')
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").upper()
    if slug and len(slug) <= 16:
        return slug
    return f"{slug[:11] or 'CLASS'}_{hashlib.sha256(name.encode()).hexdigest()[:4].upper()}"

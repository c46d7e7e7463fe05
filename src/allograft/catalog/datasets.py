"""Public data sets by name."""

from __future__ import annotations

from allograft.datasets.brain_regions import BrainRegions, MacaqueRegions
from allograft.datasets.brain_tissue import BrainTissue
from allograft.datasets.ct_organs import CTOrgans
from allograft.datasets.dataset import Dataset
from allograft.datasets.lung_tumour import LungTumour
from allograft.datasets.nuclei_2d import Nuclei2D
from allograft.datasets.nuclei_3d import Nuclei3D
from allograft.datasets.organ_blocks import OrganBlocks
from allograft.datasets.skin_histology import SkinHistology
from allograft.datasets.synthetic_brains import SyntheticBrains
from allograft.datasets.synthetic_protocols import SyntheticProtocols

__all__ = ["DATASETS"]

DATASETS: dict[str, type[Dataset]] = {
    "brain_regions": BrainRegions,
    "brain_tissue": BrainTissue,
    "ct_organs": CTOrgans,
    "lung_tumour": LungTumour,
    "macaque_regions": MacaqueRegions,
    "nuclei_2d": Nuclei2D,
    "nuclei_3d": Nuclei3D,
    "organ_blocks": OrganBlocks,
    "skin_histology": SkinHistology,
    "synthetic_brains": SyntheticBrains,
    "synthetic_protocols": SyntheticProtocols,
}

"""Methods by name: one line each, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allograft.contracts import Objective, Procedure, Start, Tuning
from allograft.objectives.barlow_twins import BarlowTwins
from allograft.objectives.byol import BYOL
from allograft.objectives.cct import CCT
from allograft.objectives.cdan import CDAN
from allograft.objectives.cpc import CPC
from allograft.objectives.cps import CPS
from allograft.objectives.cross_teaching import CrossTeaching
from allograft.objectives.cycle_gan import CycleGAN
from allograft.objectives.dan import DAN
from allograft.objectives.dann import DANN
from allograft.objectives.deep_adversarial import DeepAdversarial
from allograft.objectives.deep_coral import DeepCORAL
from allograft.objectives.dino import DINO
from allograft.objectives.distant_feature_fusion import DistantFeatureFusion
from allograft.objectives.entropy_minimisation import EntropyMinimisation
from allograft.objectives.exemplar import Exemplar
from allograft.objectives.fix_match import FixMatch
from allograft.objectives.fourier_adaptation import FourierAdaptation
from allograft.objectives.gan import GAN
from allograft.objectives.histogram_matching import HistogramMatching
from allograft.objectives.ict import ICT
from allograft.objectives.jigsaw import Jigsaw
from allograft.objectives.localisation import Localisation
from allograft.objectives.masked_autoencoder import MaskedAutoencoder
from allograft.objectives.mean_teacher import MeanTeacher
from allograft.objectives.minimax_entropy import MinimaxEntropy
from allograft.objectives.mixed import Mixed
from allograft.objectives.moco_v2 import MoCoV2
from allograft.objectives.models_genesis import ModelsGenesis
from allograft.objectives.multi_head import MultiHead
from allograft.objectives.multi_task import MultiTask
from allograft.objectives.nyul import Nyul
from allograft.objectives.patient_pairs import PatientPairs
from allograft.objectives.pix2pix import Pix2Pix
from allograft.objectives.pnp_adanet import PnPAdaNet
from allograft.objectives.r_drop import RDrop
from allograft.objectives.relative_patch_location import RelativePatchLocation
from allograft.objectives.rotation import Rotation
from allograft.objectives.self_ensembling import SelfEnsembling
from allograft.objectives.simclr import SimCLR
from allograft.objectives.simsiam import SimSiam
from allograft.objectives.supervised import Supervised
from allograft.objectives.swav import SwAV
from allograft.objectives.tent import Tent
from allograft.objectives.ua_mt import UAMT
from allograft.objectives.urpc import URPC
from allograft.objectives.vicreg import VICReg
from allograft.procedures.acquisition.acquisition import Acquisition
from allograft.procedures.acquisition.bald import BALD
from allograft.procedures.acquisition.entropy import Entropy
from allograft.procedures.acquisition.k_centre import KCentre
from allograft.procedures.acquisition.margin import Margin
from allograft.procedures.acquisition.medal import MedAL
from allograft.procedures.acquisition.o_medal import OMedAL
from allograft.procedures.acquisition.random import Random
from allograft.procedures.active_learning import ActiveLearning
from allograft.procedures.adabn import AdaBN
from allograft.procedures.billion_scale import BillionScale
from allograft.procedures.continual import Continual
from allograft.procedures.coral import CORALTransfer
from allograft.procedures.discriminative_ratio import RatioTransfer
from allograft.procedures.finetune import Finetune
from allograft.procedures.gan_pretrain import GANPretrain
from allograft.procedures.kliep import KLIEPTransfer
from allograft.procedures.kmm import KMMTransfer
from allograft.procedures.noisy_student import NoisyStudent
from allograft.procedures.pnp_adanet import PnPAdaNetAfterSource
from allograft.procedures.pretrain import Pretrain
from allograft.procedures.self_supervised import SelfSupervised
from allograft.procedures.subspace_alignment import SubspaceTransfer
from allograft.procedures.tca import TCATransfer
from allograft.procedures.teacher_student_chain import TeacherStudentChain
from allograft.procedures.tent import TentAfterSource
from allograft.procedures.ums_rep import UMSRep
from allograft.procedures.voxel_classifier import VoxelClassifier
from allograft.procedures.voxel_models.asvm import ASVM
from allograft.procedures.voxel_models.kernel_learning import LearnedKernel
from allograft.procedures.voxel_models.rsvm import RSVM
from allograft.procedures.voxel_models.svm import PlainSVM
from allograft.procedures.voxel_models.tradaboost import Boosting
from allograft.procedures.voxel_models.voxel_model import VoxelModel
from allograft.procedures.voxel_models.wsvm import WSVM
from allograft.starts.full import Full
from allograft.starts.gabor import Gabor
from allograft.starts.mean_var import MeanVar
from allograft.starts.partial import Partial
from allograft.starts.scratch import Scratch
from allograft.starts.slim import Slim
from allograft.tunings.bias_only import BiasOnly
from allograft.tunings.bn_only import BNOnly
from allograft.tunings.discriminative import Discriminative
from allograft.tunings.frozen import Frozen
from allograft.tunings.full import FullTuning
from allograft.tunings.gradual import Gradual
from allograft.tunings.l2_sp import L2SP
from allograft.tunings.last_k import LastK
from allograft.tunings.lp_ft import LPFT

__all__ = ["ACQUISITIONS", "KINDS", "NEEDS_NO_SOURCE", "OBJECTIVES", "PROCEDURES", "STARTS", "TUNINGS", "VOXEL_MODELS"]

STARTS: dict[str, type[Start]] = {
    "scratch": Scratch,
    "full": Full,
    "partial": Partial,
    "mean_var": MeanVar,
    "slim": Slim,
    "gabor": Gabor,
}

TUNINGS: dict[str, type[Tuning]] = {
    "full": FullTuning,
    "frozen": Frozen,
    "last_k": LastK,
    "gradual": Gradual,
    "discriminative": Discriminative,
    "lp_ft": LPFT,
    "l2_sp": L2SP,
    "bn_only": BNOnly,
    "bias_only": BiasOnly,
}

OBJECTIVES: dict[str, type[Objective]] = {
    "supervised": Supervised,
    "multi_head": MultiHead,
    "multi_task": MultiTask,
    "localisation": Localisation,
    "gan": GAN,
    "entropy_minimisation": EntropyMinimisation,
    "mean_teacher": MeanTeacher,
    "ua_mt": UAMT,
    "ict": ICT,
    "fix_match": FixMatch,
    "r_drop": RDrop,
    "rotation": Rotation,
    "models_genesis": ModelsGenesis,
    "masked_autoencoder": MaskedAutoencoder,
    "relative_patch_location": RelativePatchLocation,
    "jigsaw": Jigsaw,
    "cpc": CPC,
    "exemplar": Exemplar,
    "simclr": SimCLR,
    "moco_v2": MoCoV2,
    "byol": BYOL,
    "simsiam": SimSiam,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
    "swav": SwAV,
    "dino": DINO,
    "patient_pairs": PatientPairs,
    "cps": CPS,
    "cross_teaching": CrossTeaching,
    "deep_adversarial": DeepAdversarial,
    "cct": CCT,
    "urpc": URPC,
    "mixed": Mixed,
    "fourier_adaptation": FourierAdaptation,
    "histogram_matching": HistogramMatching,
    "nyul": Nyul,
    "cycle_gan": CycleGAN,
    "pix2pix": Pix2Pix,
    "self_ensembling": SelfEnsembling,
    "pnp_adanet": PnPAdaNet,
    "tent": Tent,
    "dann": DANN,
    "cdan": CDAN,
    "dan": DAN,
    "deep_coral": DeepCORAL,
    "minimax_entropy": MinimaxEntropy,
    "distant_feature_fusion": DistantFeatureFusion,
}

PROCEDURES: dict[str, type[Procedure]] = {
    "finetune": Finetune,
    "pretrain": Pretrain,
    "continual": Continual,
    "gan_pretrain": GANPretrain,
    "self_supervised": SelfSupervised,
    "ums_rep": UMSRep,
    "billion_scale": BillionScale,
    "teacher_student_chain": TeacherStudentChain,
    "noisy_student": NoisyStudent,
    "active_learning": ActiveLearning,
    "voxel_classifier": VoxelClassifier,
    "kmm": KMMTransfer,
    "kliep": KLIEPTransfer,
    "discriminative_ratio": RatioTransfer,
    "tca": TCATransfer,
    "subspace_alignment": SubspaceTransfer,
    "coral": CORALTransfer,
    "adabn": AdaBN,
    "pnp_adanet": PnPAdaNetAfterSource,
    "tent": TentAfterSource,
}

ACQUISITIONS: dict[str, type[Acquisition]] = {
    "random": Random,
    "entropy": Entropy,
    "margin": Margin,
    "bald": BALD,
    "k_centre": KCentre,
    "medal": MedAL,
    "o_medal": OMedAL,
}

VOXEL_MODELS: dict[str, type[VoxelModel]] = {
    "svm": PlainSVM,
    "wsvm": WSVM,
    "rsvm": RSVM,
    "asvm": ASVM,
    "tradaboost": Boosting,
    "kernel_learning": LearnedKernel,
}

KINDS: dict[str, Mapping[str, type[Any]]] = {
    "start": STARTS,
    "tuning": TUNINGS,
    "objective": OBJECTIVES,
    "procedure": PROCEDURES,
    "acquisition": ACQUISITIONS,
    "voxel_model": VOXEL_MODELS,
}

NEEDS_NO_SOURCE = frozenset({"scratch", "gabor"})

"""IKC (Gu et al., CVPR 2019): one kernel per image, guessed, then corrected by what the restoration looks like."""

from arcsr_lightning.rivals.ikc.loss import IKCLoss
from arcsr_lightning.rivals.ikc.network import IKC, SFTMD, Corrector, Predictor, fit_code

__all__ = ["IKC", "SFTMD", "Corrector", "IKCLoss", "Predictor", "fit_code"]

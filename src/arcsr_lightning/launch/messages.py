"""Errors as one line: what is wrong with what the user typed, and what would be right."""

import re

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.linalg import LinAlgError

from arcsr_lightning.errors import InputError

# Errors that are about what the user gave: shown as one line, without a traceback.
USER_ERRORS = (
    InputError,
    FloatingPointError,
    LinAlgError,
    OSError,
    HydraException,
    OmegaConfBaseException,
    MisconfigurationException,
)
EXTRAS = {  # what finds no plugin of Hydra's, and the extra that brings it
    "hydra/launcher/submitit_slurm": ("cluster=slurm", "cluster"),
    "hydra/sweeper/optuna": ("hparams_search=optuna", "sweep"),
}


def explain(error: BaseException) -> str | None:
    """One line for an error that is about the user's input, None for any other."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause = error.__cause__
        return str(cause) if isinstance(cause, ValueError | TypeError) else explain(cause)
    if isinstance(error, USER_ERRORS):
        text = str(error).rsplit(f"{type(error).__name__}: ", 1)[-1]  # a data worker sends its whole traceback along
        text = text.split("Config search path")[0].split("\n    full_key")[0]
        for plugin, (setting, extra) in EXTRAS.items():
            if f"Could not find '{plugin}'" in text:
                return f'{setting} needs more packages; pip install "arcsr-lightning[{extra}]"'
        if missing := re.search(r"Missing mandatory value: (\S+)", text):
            key = missing[1]
            return f"{key} is not set; give {key}=VALUE" + (", or data.root=PATH" if key.startswith("paths.") else "")
        return " ".join(text.split()) or type(error).__name__
    return explain_cluster(error)


def explain_cluster(error: BaseException) -> str | None:
    """One line for what a cluster has against a job, None for any other error, a job's own included."""
    text = str(error)
    if "are you indeed on a slurm cluster" in text:
        return "cluster=slurm: there is no srun on this machine; type the command where sbatch works"
    if type(error).__module__.startswith("submitit.") and "with trace" not in text:
        return " ".join(text.split("-----")[0].split())  # its log follows
    return None


def line_of(error: Exception) -> str:
    """One line for any error."""
    return explain(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"

"""Errors as one line: what is wrong with what the user typed, and what would be right."""

import re

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from torch.linalg import LinAlgError

from arcsr_lightning.errors import InputError, is_lack_of_memory

# Errors that are about what the user gave: shown as one line, without a traceback.
USER_ERRORS = (
    InputError,
    FloatingPointError,
    LinAlgError,
    OSError,
    HydraException,
    OmegaConfBaseException,
)
OF_LIGHTNING = "MisconfigurationException"  # likewise, by name, as Lightning takes seconds to import
NOT_SET = re.compile(r"Missing mandatory value: (\S+)")
REFUSALS = (ValueError, TypeError, LookupError)  # how functions that know no settings say what they cannot take
EXTRAS = {  # words of the error where packages are missing, what was typed then, and the extra that brings them
    "Could not find 'hydra/launcher/submitit_slurm'": ("cluster=slurm", "cluster"),
    "Could not find 'hydra/sweeper/optuna'": ("hparams_search=optuna", "sweep"),
    "No module named 'gradio'": ("arcsr-demo", "demo"),
    "No module named 'av'": ("a video", "video"),
    "Neither `tensorboard` nor `tensorboardX`": ("logger=tensorboard", "tensorboard"),
}

LESS_MEMORY = (
    "memory does not suffice; a training takes less with precision=bf16-mixed, or a smaller data.batch_size or "
    "data.train.patch_size"
)
SEARCHES = {  # words of the errors of sweeps and searches, and what they mean here
    "Sweeping over Hydra's configuration is not supported": (
        "hydra.sweeper.params: is for files; type what is swept over itself, seed=0,1, or with hparams_search=optuna "
        "'optimizer.lr=interval(1e-4,1e-3)'"
    ),
    "Record does not exist": "hparams_search: no trial succeeded, for the reasons above",  # of a best trial
    "does not support dynamic value space": (
        "hparams_search: earlier trials of this study chose from other values; give the search a task_name of its own"
    ),
}


def explain(error: BaseException) -> str | None:
    """One line for an error that is about the user's input, None for any other."""
    if missing := missing_extra(str(error)):
        return missing
    if isinstance(error, InstantiationException):
        return explain_instantiation(error)
    if isinstance(error, OmegaConfBaseException) and (missing := NOT_SET.search(str(error))):
        return explain_missing(missing[1], error.full_key)
    if said := said_by_a_resolver(str(error)) or said_of_a_search(str(error)):
        return said
    if is_lack_of_memory(error):
        return LESS_MEMORY
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if is_the_user_s(error):
        text = str(error).rsplit(f"{type(error).__name__}: ", 1)[-1]  # a data worker sends its whole traceback along
        head, _, rest = text.split("Config search path")[0].partition("\n    full_key: ")
        key = rest.split("\n")[0]
        line = " ".join(head.split())
        return (f"{key}: {line}" if key.isidentifier() or "." in key else line) or type(error).__name__
    return explain_cluster(error) or explain_wandb(error)


def is_the_user_s(error: BaseException | None) -> bool:
    """Whether an error is about what the user gave."""
    return isinstance(error, USER_ERRORS) or any(one.__name__ == OF_LIGHTNING for one in type(error).__mro__)


def said_of_a_search(text: str) -> str | None:
    """The line for a sweep or a search that cannot begin or go on."""
    return next((line for words, line in SEARCHES.items() if words in text), None)


def said_by_a_resolver(text: str) -> str | None:
    """The line of a resolver's InputError, which names its setting, out of the error that OmegaConf makes of it."""
    _, found, said = text.partition("InputError raised while resolving interpolation: ")
    return said.split("\n")[0] if found else None


def missing_extra(text: str) -> str | None:
    """What to install, where an error says that optional packages are missing."""
    for words, (setting, extra) in EXTRAS.items():
        if words in text:
            return f'{setting} needs more packages; pip install ".[{extra}]" in the clone'
    return None


def explain_missing(key: str, reader: str | None) -> str:
    """One line for a setting without a value, that of a machine's paths by what read it, too."""
    if key.startswith("paths."):
        return f"{key} is not set; give {key}=PATH" + (f", or {reader}=PATH" if reader and reader != key else "")
    return f"{key} is not set; give {key}=VALUE"


def explain_instantiation(error: InstantiationException) -> str | None:
    """One line for an object that could not be made of its settings, which names them; None for a fault of ours."""
    text, cause = str(error), error.__cause__
    if is_the_user_s(cause):
        return explain(cause)  # names its setting
    key = (re.search(r"full_key: (\S+)", text) or [None, "?"])[1]
    if unknown := re.match(r"Error locating target '([^']+)'", text):
        return f"{key}._target_={unknown[1]}: there is no such class or function"
    if target := re.match(r"Error in call to target '([^']+)'", text):
        name = target[1].rpartition(".")[2]
        return f"{key}: {name} refuses these settings: {cause}" if isinstance(cause, REFUSALS) else None
    return " ".join(text.split()) if cause is None else explain(cause)


def explain_cluster(error: BaseException) -> str | None:
    """One line for what a cluster has against a job, None for any other error, a job's own included."""
    text = str(error)
    if "are you indeed on a slurm cluster" in text:
        return "cluster=slurm: there is no srun on this machine; type the command where sbatch works"
    if type(error).__module__.startswith("submitit.") and "with trace" not in text:
        return " ".join(text.split("-----")[0].split())  # its log follows
    return None


def explain_wandb(error: BaseException) -> str | None:
    """One line for what W&B has against a run, None for any other error."""
    if type(error).__module__.startswith("wandb."):
        return f"logger=wandb: {' '.join(str(error).split())}; WANDB_MODE=offline records on disk"
    return None


def line_of(error: Exception) -> str:
    """One line for any error."""
    return explain(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"

"""The environment variables of this package: how the processes of one launch know of each other, and what users set.

=====================  =======================================  ========================================================
variable               set by                                   read by
=====================  =======================================  ========================================================
ARCSR_RUN_STAMP        the first process; the user, who starts  every process of the launch: the name of its folder
                       one run on several machines              below runs/ or multiruns/
ARCSR_TRACEBACK        the first process                        every process that ends with an error: "0" means one
                                                                line
ARCSR_JOB              a sweep, for a job that has processes    that job, which must not outlive its sweep
                       of its own
ARCSR_TRUSTED_MODULES  the user                                 ``runs.weights``: further modules, with commas between
                                                                them, whose classes a file may name
ARCSR_NATIVE           the user                                 ``operators.native.build``: "0" means no compiled
                                                                operators
=====================  =======================================  ========================================================

Nothing but this module reads or writes the first three, and nothing is set while a configuration is composed or
resolved.
"""

import os
from datetime import datetime


def begin_launch() -> None:
    """Set what the processes of this launch share, as far as the one that started this process has not."""
    if "ARCSR_RUN_STAMP" not in os.environ:
        os.environ["ARCSR_RUN_STAMP"] = new_folder_name()
    os.environ.setdefault("ARCSR_TRACEBACK", os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version otherwise


def is_of_several() -> bool:
    """Whether SLURM started this process as one of several: srun, but not what a batch script types without it."""
    return int(os.environ.get("SLURM_NTASKS", "1")) > 1 and {"SLURM_PROCID", "SLURM_STEP_ID"} <= os.environ.keys()


def new_folder_name() -> str:
    """The time; in processes that SLURM starts for one run, which must agree on it, the number of their step."""
    if is_of_several():
        return "slurm-{SLURM_JOB_ID}.{SLURM_STEP_ID}".format(**os.environ)
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"[:-3]  # milliseconds, as a loop in a shell starts many at once


def launch_folder() -> str:
    """The name of the folder of this launch's run or sweep."""
    return os.environ["ARCSR_RUN_STAMP"]


def go_on_in(name: str) -> None:
    """Let this process, and those that it starts, work in the folder of an earlier launch."""
    os.environ["ARCSR_RUN_STAMP"] = name


def wants_traceback() -> bool:
    """Whether errors of the user's are to end in a traceback as well (``HYDRA_FULL_ERROR=1``)."""
    return os.environ["ARCSR_TRACEBACK"] != "0"


def of_a_job_apart() -> dict[str, str]:
    """The environment for a job of a sweep that is a command of its own."""
    return os.environ | {"ARCSR_JOB": "1"}


def is_a_job_apart() -> bool:
    """Whether this process was started with :func:`of_a_job_apart`, or by one that was."""
    return "ARCSR_JOB" in os.environ

"""A real SLURM of one node with two CPUs on this machine, for tests: ``one_node.py start FOLDER``, ``... stop FOLDER``.

Needs root, slurm-wlm and munge; ``one_node.py check`` says what is missing. Everything it writes is in FOLDER, its
ports are free ones, and it has its own munge, so that it does not meet a SLURM that runs here already. Its commands
work where SLURM_CONF names FOLDER/slurm.conf.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")  # in the order they start
COMMANDS = (*DAEMONS, "sbatch", "scontrol", "sinfo")
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # a user's PATH may lack the daemons

CONF = """\
ClusterName=one_node
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={d}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5,bf_interval=5
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why this machine cannot be a node of SLURM; None where it can."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in COMMANDS if shutil.which(name, path=SEARCH) is None]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else None


def start(folder: Path) -> None:
    """Start the daemons and wait until the node takes jobs.

    Raises:
        RuntimeError: it does not within a minute; the message holds the end of the logs.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    ctld, d = free_ports(2)
    conf.write_text(CONF.format(folder=folder, host=socket.gethostname().split(".")[0], ctld=ctld, d=d))
    munge = ("--force", f"--key-file={key}", f"--socket={folder}/munge.socket", f"--log-file={folder}/munged.log")
    daemon("munged", *munge, f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed")
    daemon("slurmctld", "-f", conf)
    daemon("slurmd", "-f", conf)
    if not wait(lambda: ask("sinfo", "--noheader", "--format=%T", conf=conf) == "idle", 60):
        logs = [path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log"))]
        raise RuntimeError("\n".join(["the node does not become idle", *logs]))


def stop(folder: Path) -> None:
    """End the jobs and the daemons."""
    conf = folder / "slurm.conf"
    ask("scancel", "--user=root", conf=conf)
    wait(lambda: not ask("squeue", "--noheader", conf=conf), 20)
    for name in reversed(DAEMONS):
        file = folder / f"{name}.pid"
        pid = int(file.read_text()) if file.is_file() else None
        for number in (signal.SIGTERM, signal.SIGKILL):
            if pid and alive(pid):
                os.kill(pid, number)
                wait(lambda pid=pid: not alive(pid), 10)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition``, ``seconds`` at most; whether it came."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return met


def ask(name: str, *arguments: str, conf: Path) -> str:
    """What a command of SLURM prints; nothing as long as nobody answers."""
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    command = [found(name), *arguments]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20).stdout.strip()
    except subprocess.TimeoutExpired:
        return ""


def daemon(name: str, *arguments: str | Path) -> None:
    subprocess.run([found(name), *map(str, arguments)], check=True, timeout=60)


def found(name: str) -> str:
    return shutil.which(name, path=SEARCH)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check"]:
            sys.exit(missing())
        case ["start", folder]:
            start(Path(folder).resolve())
        case ["stop", folder]:
            stop(Path(folder).resolve())
        case _:
            sys.exit(__doc__)

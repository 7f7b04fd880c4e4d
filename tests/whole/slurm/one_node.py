"""A real Slurm of one node, on this machine, for the length of a test: Debian's slurm-wlm and munge, started from a folder of its own.

Needs root, as the daemons start jobs for users. `/etc/slurm/slurm.conf` points there as long as it runs, since job steps look nowhere
else; where that file exists already, nothing is started.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs that have to be installed first (`apt-get install slurm-wlm munge`)."""
    return [name for name in PROGRAMS if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def one_node(folder: Path, cores: int | None = None) -> Iterator[dict[str, str]]:
    """A cluster that accepts jobs; yields the environment by which Slurm's commands find it. Stopped at the end, whatever happens.

    Raises `RuntimeError` if this machine has a Slurm of its own, and with the end of the daemons' logs if the node is not idle within a minute.
    """
    if SYSTEM_CONF.exists():
        raise RuntimeError(f"{SYSTEM_CONF} exists: this machine has a Slurm of its own, which is left alone")
    SYSTEM_CONF.unlink(missing_ok=True)  # a link into a folder that is gone
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)  # munge distrusts folders that others may write
    conf = folder / "slurm.conf"
    facts = {
        "host": socket.gethostname().partition(".")[0],
        "folder": folder,
        "ports": _free_ports(2),
        "cores": cores or psutil.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20 * 9 // 10,
    }
    conf.write_text(CONF.format(**facts))
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    files = {name: f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")}
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files.values()],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    ]
    environment = {"SLURM_CONF": str(conf)}
    daemons = []
    SYSTEM_CONF.parent.mkdir(parents=True, exist_ok=True)
    SYSTEM_CONF.symlink_to(conf)
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("w") as out:
                daemons.append(
                    subprocess.Popen(
                        [_program(command[0]), *command[1:]], env=os.environ | environment, stdout=out, stderr=out
                    )
                )
            time.sleep(1)
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        SYSTEM_CONF.unlink()
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _wait_until_idle(environment: dict[str, str], folder: Path, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        states = subprocess.run(
            [_program("sinfo"), "--noheader", "--format=%T"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if states.stdout.strip() == "idle":
            return
        time.sleep(1)
    logs = "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("slurm*.log")))
    raise RuntimeError(
        f"the node is {states.stdout.strip() or states.stderr.strip()} after {patience_s:.0f} s:\n{logs}"
    )

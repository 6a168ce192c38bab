"""A SLURM of the tests' own: its daemons on this machine, with two nodes of two cores each."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
NODES = ("n1", "n2")
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
SwitchType=switch/none
ReturnToService=2
KillWait=5
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Daemons that run while the tests do.

    Attributes:
        folder: where their files lie, and in `work` what jobs print and make.
    """

    def __init__(self) -> None:
        lack = [name for name in PROGRAMS if not shutil.which(name, path=_paths())]
        assert not lack, f"{', '.join(lack)}: not installed. Try `apt-get install slurm-wlm`"
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.work, self._daemons = self.folder / "work", list[subprocess.Popen[bytes]]()
        for name in ("work", "state"):
            (self.folder / name).mkdir()
        self._start()

    def _environ(self) -> dict[str, str]:
        """Return the variables of this test, in which `sandbox` is that of this Python."""
        path = os.pathsep.join([str(Path(sys.executable).parent), _paths()])
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def _start(self) -> None:
        key, user = self.folder / "munge.key", subprocess.check_output(["id", "-un"], text=True)
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        text = CONFIGURATION.format(folder=self.folder, ports=_free_ports(3), user=user.strip())
        (self.folder / "slurm.conf").write_text(text)
        names = {"key-file": key} | {
            f"{name}-file": self.folder / f"munge.{name}" for name in ("pid", "log", "seed")
        }
        options = [f"--{name}={path}" for name, path in names.items()]
        at = f"--socket={self.folder / 'munge.socket'}"
        self._daemon("munged", "--foreground", "--force", at, *options)
        self._until(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-c")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        self._until(lambda: self.run("sinfo", "-h", "-o", "%D %t").split() == ["2", "idle"])

    def _daemon(self, *command: str) -> None:
        log = (self.folder / f"{command[0]}.out").open("ab")
        with log:
            self._daemons.append(
                subprocess.Popen(
                    command, env=self._environ(), cwd=self.folder, stdout=log, stderr=log
                )
            )

    def _until(self, true: object) -> None:
        assert callable(true)
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, self.logs()
            time.sleep(0.1)

    def logs(self) -> str:
        """Return the end of what each daemon said."""
        found = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"{one.name}:\n{one.read_text()[-1000:]}" for one in found)

    def run(self, *command: str, fails: bool = False, **variables: str) -> str:
        """Run a command where jobs run; return what it printed."""
        done = subprocess.run(
            command, cwd=self.work, env={**self._environ(), **variables}, text=True, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert fails or done.returncode == 0, done.stdout
        return done.stdout

    def submit(self, *given: str, **variables: str) -> str:
        """Submit a job; return its number."""
        return self.run("sbatch", "--parsable", *given, **variables).split()[-1]

    def states(self, job: str) -> dict[str, str]:
        """Return the state of each task of a job, by its number, or the number of the job."""
        said = self.run("scontrol", "-o", "show", "job", job)
        tasks = [
            dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
            for line in said.splitlines()
        ]
        return {one.get("ArrayTaskId", one["JobId"]): one["JobState"] for one in tasks}

    def wait(self, job: str) -> dict[str, str]:
        """Wait until a job has ended; return the state of each task."""
        self._until_ended(job)
        return self.states(job)

    def _until_ended(self, job: str) -> None:
        end = time.monotonic() + 120
        while self.run("squeue", "-h", "-j", job):
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)

    def close(self) -> None:
        """End the jobs and the daemons, and remove their folder."""
        self.run("scancel", "--full", "--state=RUNNING", "--me", fails=True)
        self.run("scancel", "--me", fails=True)
        for one in reversed(self._daemons):
            one.send_signal(signal.SIGTERM)
        for one in reversed(self._daemons):
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _paths() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for one in probes:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in probes]
    for one in probes:
        one.close()
    return ports

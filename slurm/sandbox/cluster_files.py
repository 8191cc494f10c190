"""The files of the private test cluster: configuration, key, fake GPUs.

One machine stands for four nodes: four slurmd share its host name and listen on different
ports. Not for production: memory limits are not enforced and GPUs are fake.
"""

import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from synth.identity import require

NUM_NODES = 4
"""Nodes n1 to n4, with two CPUs and two fake GPUs each."""

DEFAULT_STATE = Path("/run/synth-slurm")
"""The state folder of `make cluster-up`."""

FOLDERS = ("etc", "run", "log", "ctld", "munge", "dev", "db", "spool")
"""The folders in a state folder."""
LOCK = "lock"
"""The file in a state folder that one caller at a time holds."""
ENVIRONMENT = "env.sh"
"""The file in a state folder that a shell reads to use the cluster."""


@dataclass(frozen=True)
class ClusterOptions:
    """Options of one private cluster.

    `base_port` is slurmctld's; slurmdbd and MariaDB use the next two, the nodes
    `base_port + 11` onwards. A preempted job is warned `grace_time_s` before its end.
    """

    state: Path = DEFAULT_STATE
    base_port: int = 17000
    accounting: bool = False
    max_array_size: int = 1001
    grace_time_s: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", Path(self.state).expanduser().absolute())
        if len(str(self.state)) > 80:
            raise ValueError(
                "ClusterOptions.state must be a path of at most 80 characters, since "
                f"unix sockets live in it; got {len(str(self.state))}: {self.state}"
            )
        if any(letter.isspace() for letter in str(self.state)):
            raise ValueError(
                f"ClusterOptions.state must hold no blanks; got {str(self.state)!r}"
            )
        if not 1024 <= self.base_port <= 65000:
            raise ValueError(
                "ClusterOptions.base_port must be from 1024 to 65000; "
                f"got {self.base_port}"
            )
        for name, least in (("max_array_size", 1), ("grace_time_s", 0)):
            value = getattr(self, name)
            require(
                value >= least, f"ClusterOptions.{name}", f"at least {least}", value
            )

    @property
    def conf(self) -> Path:
        """The slurm.conf of this cluster's clients and jobs."""
        return self.state / "etc" / "slurm.conf"

    @property
    def nodes(self) -> list[str]:
        """Node names, n1 first."""
        return [f"n{i + 1}" for i in range(NUM_NODES)]

    @property
    def ports(self) -> list[int]:
        """Every port on which the cluster listens."""
        database = [self.base_port + 1, self.base_port + 2] if self.accounting else []
        nodes = [self.base_port + 11 + i for i in range(NUM_NODES)]
        return [self.base_port, *database, *nodes]


def config_files(options: ClusterOptions) -> dict[Path, str]:
    """The configuration files of the cluster and their contents."""
    etc = options.state / "etc"
    files = {
        options.conf: _slurm_conf(options),
        etc / "cgroup.conf": "CgroupPlugin=autodetect\n",
        etc / "plugstack.conf": "",
        etc / "gres.conf": (
            f"NodeName=n[1-{NUM_NODES}] Name=gpu Type=fake "
            f"File={options.state}/dev/nvidia[0-1]\n"
        ),
        options.state / ENVIRONMENT: f"export SLURM_CONF={options.conf}\n",
    }
    if options.accounting:
        files[etc / "slurmdbd.conf"] = _slurmdbd_conf(options)
    return files


def write_files(options: ClusterOptions) -> None:
    """Create folders, key, fake GPUs and configuration, where missing or different."""
    state = options.state
    for name in [*FOLDERS, *(f"spool/{node}" for node in options.nodes)]:
        (state / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    state.chmod(0o755)  # munge's socket must be reachable by any user
    (state / "munge").chmod(0o700)
    key = state / "munge" / "munge.key"
    if not key.exists():
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(1024))
    # With plain files GPUs would be counted, but CUDA_VISIBLE_DEVICES would not be set.
    for index in range(2):
        device = state / "dev" / f"nvidia{index}"
        if not device.exists():
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for path, text in config_files(options).items():
        if not path.exists() or path.read_text() != text:
            path.touch(mode=0o600 if path.name == "slurmdbd.conf" else 0o644)
            path.write_text(text)


def foreign_files(options: ClusterOptions) -> list[str]:
    """What a state folder holds that no cluster put there, by name, in order.

    Without a configuration, folders with the names of a cluster's are somebody else's.
    """
    state = options.state
    names = {path.name for path in state.iterdir()} if state.exists() else set()
    own = {LOCK, ENVIRONMENT, *FOLDERS} if options.conf.exists() else {LOCK}
    return sorted(names - own)


def files_differ(options: ClusterOptions) -> bool:
    """Whether a cluster was configured in the state folder with other options."""
    return options.conf.exists() and any(
        not path.exists() or path.read_text() != text
        for path, text in config_files(options).items()
    )


def _accounting(options: ClusterOptions) -> str:
    if not options.accounting:
        return (
            "AccountingStorageType=accounting_storage/none\n"
            "JobAcctGatherType=jobacct_gather/none"
        )
    # Without AccountingStoragePass every client looks for the default munge socket.
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={options.base_port + 1}
AccountingStoragePass={options.state}/run/munge.socket
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5"""


def _slurm_conf(options: ClusterOptions) -> str:
    state, base = options.state, options.base_port
    host = socket.gethostname().split(".")[0]
    last = base + 10 + NUM_NODES
    # cred_expire: how long a requeued job waits (120 s by default).
    # config_overrides: declared CPUs and memory may exceed the real ones.
    # preempt_send_user_signal: without it a preempted job gets only SIGTERM.
    return f"""\
ClusterName=sim
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={base}
SlurmUser=root
AuthInfo=socket={state}/run/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/spool/%n
SlurmctldPidFile={state}/run/slurmctld.pid
SlurmdPidFile={state}/run/slurmd-%n.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/slurmd-%n.log
PlugStackConfig={state}/etc/plugstack.conf
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=1,bf_continue
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
MinJobAge=300
MaxArraySize={options.max_array_size}
{_accounting(options)}
GresTypes=gpu
NodeName=n[1-{NUM_NODES}] NodeHostname={host} NodeAddr=127.0.0.1 \
Port={base + 11}-{last} CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 \
ThreadsPerCore=1 RealMemory=5000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=low Nodes=n[1-{NUM_NODES}] Default=YES MaxTime=INFINITE State=UP \
PriorityTier=1 PreemptMode=REQUEUE GraceTime={options.grace_time_s}
PartitionName=high Nodes=n[1-{NUM_NODES}] Default=NO MaxTime=INFINITE State=UP \
PriorityTier=10 PreemptMode=OFF
"""


def _slurmdbd_conf(options: ClusterOptions) -> str:
    state, base = options.state, options.base_port
    # StorageHost is an address: "localhost" would mean MariaDB's default socket.
    return f"""\
AuthType=auth/munge
AuthInfo=socket={state}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={base + 1}
SlurmUser=root
LogFile={state}/log/slurmdbd.log
PidFile={state}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={base + 2}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
"""

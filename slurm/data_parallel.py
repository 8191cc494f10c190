"""Data-parallel training: each process takes a share of the rows of every batch.

Rank 0 leads: it alone runs `synth.training`, with folders, evaluations, checkpoints and
signals, and tells the others when to take a step. Every process holds the whole model.
Losses and gradients are summed over processes, so terms keep the weights that they have
over the whole batch. Every process draws the whole batch, which is cheap, and keeps its
rows.

The result is that of one process up to the order of summation: on CPU in fp32, losses
agree to about 1e-5 relative after dozens of steps. gloo on CPU, NCCL on GPUs.
"""

import contextlib
import datetime
import json
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from synth.config import RunConfig
from synth.disk.files import write_atomically
from synth.fast.numerics import numerics
from synth.models.backward import loss_and_backward
from synth.objectives.batch.targets import Targets
from synth.pack import Pack
from synth.run import checkpoint as checkpoints
from synth.run.checkpoint import Checkpoint
from synth.run.execution import Execution
from synth.run.store import RunFolder

JOIN_TIMEOUT_S = 300.0
"""Maximum wait of the processes for each other at the start."""
SILENCE = datetime.timedelta(hours=12)
"""Maximum time between steps, in which the leader evaluates or saves. That a leader has
died is noticed earlier, by its closed connection."""

_BUILD, _STEP, _FINISH = 1, 2, 3


@dataclass(frozen=True)
class ProcessRank:
    """The rank of this process, the number of processes, its rank on the node."""

    rank: int
    world: int
    local_rank: int


def process_rank() -> ProcessRank:
    """Read the rank from srun's variables; outside of a job it is rank 0 of 1."""
    values = {
        name: int(os.environ.get(f"SLURM_{name}", default))
        for name, default in (("PROCID", "0"), ("NTASKS", "1"), ("LOCALID", "0"))
    }
    return ProcessRank(values["PROCID"], values["NTASKS"], values["LOCALID"])


@contextlib.contextmanager
def process_group(
    rendezvous: Path, rank: ProcessRank, execution: Execution
) -> Iterator[None]:
    """Connect all processes; on exit the leader tells the others to finish.

    `rendezvous` is the prefix of a new file on the shared file system, into which the
    leader writes its address, so that no port has to be fixed beforehand.
    """
    backend = "gloo"
    if execution.device == "cuda":
        torch.cuda.set_device(rank.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    store = _store(rendezvous.with_name(f"{rendezvous.name}_meeting.json"), rank)
    distributed.init_process_group(
        backend, store=store, rank=rank.rank, world_size=rank.world, timeout=SILENCE
    )
    try:
        yield
        if rank.rank == 0:
            with contextlib.suppress(RuntimeError):  # a follower may have died
                _exchange_command(_FINISH)
    finally:
        distributed.destroy_process_group()


def check_shares(config: RunConfig, world: int) -> None:
    """Refuse a run with fewer rows in a batch than processes."""
    rows = config.training.batch_rows
    if rows < world:
        raise ValueError(
            "TrainingConfig.batch_rows must be at least the number of processes, "
            f"{world}, in data-parallel training; got {rows}. Use fewer nodes or tasks."
        )


class ShardedPack(Pack):
    """A pack that trains on this process's rows of every batch."""

    recordable = False  # a recorded step cannot contain sums over processes

    def __init__(
        self,
        configs: Sequence[RunConfig],
        execution: Execution,
        restored: Sequence[Checkpoint] | None,
    ) -> None:
        rows, world = configs[0].training.batch_rows, distributed.get_world_size()
        assert rows >= world, "check_shares was not called"
        super().__init__(configs, execution, restored)
        rank = distributed.get_rank()
        self._mine = slice(rows * rank // world, rows * (rank + 1) // world)

    def backward(self, targets: Targets) -> Tensor:
        """Losses and gradients of the whole batch, equal on every process."""
        own_rows = targets.rows(self._mine)
        loss_NK = loss_and_backward(self.model, own_rows, self.piece_loss)
        grad_KP = self.lanes.gather_grad().contiguous()
        distributed.all_reduce(loss_NK)
        distributed.all_reduce(grad_KP)
        self.lanes.put_grad(grad_KP)
        return loss_NK


class LeaderPack(ShardedPack):
    """The pack of rank 0, which sends its commands to the followers."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        execution: Execution,
        restored: Sequence[Checkpoint] | None,
    ) -> None:
        check_shares(configs[0], distributed.get_world_size())
        _exchange_command(_BUILD)
        step = restored[0].place.step if restored else None
        _broadcast({"configs": [config.to_dict() for config in configs], "step": step})
        super().__init__(configs, execution, restored)

    def train_step(self, clock: dict[str, float]) -> None:
        """One step of every process."""
        _exchange_command(_STEP)
        super().train_step(clock)


def follow_leader(root: Path, execution: Execution) -> None:
    """Build packs and take steps on the leader's commands until it finishes."""
    pack: ShardedPack | None = None
    clock: dict[str, float] = defaultdict(float)
    with numerics(execution):
        while True:
            command = _exchange_command()
            if command in (_BUILD, _FINISH) and pack is not None:
                pack.close()
            if command == _FINISH:
                return
            if command == _BUILD:
                pack = _build(root, execution)
            elif command == _STEP:
                assert pack is not None
                pack.train_step(clock)
                if pack.must_check():
                    pack.settle(range(len(pack.configs)))


def _build(root: Path, execution: Execution) -> ShardedPack:
    order = json.loads(_broadcast())
    # The plugin files were imported from this launch; those named here are not loaded.
    values = [one | {"plugins": []} for one in order["configs"]]
    configs = [RunConfig.from_dict(one) for one in values]
    restored = None
    if order["step"] is not None:
        folders = [RunFolder(root, config.run_id) for config in configs]
        restored = [checkpoints.load(folder, order["step"]) for folder in folders]
    return ShardedPack(configs, execution, restored)


def _broadcast(order: object = None) -> bytes:
    """Send (rank 0) or receive (other ranks) what to build, as JSON.

    torch would send objects as pickles, which can run code, and an address on a shared
    file system does not authenticate the sender.
    """
    data = torch.frombuffer(bytearray(json.dumps(order).encode()), dtype=torch.uint8)
    length = torch.tensor([len(data)])
    distributed.broadcast(length, src=0)
    if distributed.get_rank() > 0:
        data = torch.empty(int(length.item()), dtype=torch.uint8)
    distributed.broadcast(data, src=0)
    return bytes(data.tolist())


def _exchange_command(number: int = 0) -> int:
    """Send (rank 0) or receive (other ranks) the next command."""
    word = torch.tensor([number])
    distributed.broadcast(word, src=0)
    return int(word.item())


def _store(rendezvous: Path, rank: ProcessRank) -> TCPStore:
    """The store through which processes connect, on a free port of rank 0."""
    timeout = datetime.timedelta(seconds=JOIN_TIMEOUT_S)
    if rank.rank == 0:
        # The address that srun gives for the first node; names may not resolve.
        host = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or socket.gethostname()
        store = TCPStore(host, 0, rank.world, True, timeout, wait_for_workers=False)
        address = json.dumps({"host": host, "port": store.port})
        write_atomically(rendezvous, address.encode())
        return store
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while not rendezvous.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"Rank 0 wrote no address to {rendezvous} within "
                f"{JOIN_TIMEOUT_S:.0f} s: it did not start, or the runs folder is not "
                "on a shared file system."
            )
        time.sleep(0.1)
    address = json.loads(rendezvous.read_bytes())
    return TCPStore(address["host"], address["port"], rank.world, False, timeout)

"""One pack over several processes: each takes a share of the rows of every batch.

Rank 0 leads: it alone runs `synth.training`, with its folders, evaluations, checkpoints
and signals, and tells the others when to take a step. All hold the whole model; losses
and gradients are summed over processes, so each sum has the weights that the objective
gives it over the whole batch. Every process draws the whole batch (data cost next to
nothing) and keeps its rows.

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
from synth.fast.numerics import numerics
from synth.objectives.loss.backward import loss_and_backward
from synth.objectives.loss.targets import Targets
from synth.pack import Pack
from synth.run import checkpoint as checkpoints
from synth.run.checkpoint import Checkpoint
from synth.run.execution import Execution
from synth.run.files import write_atomically
from synth.run.store import RunFolder

JOIN_TIMEOUT_S = 300.0
"""How long processes wait for each other to start."""
SILENCE = datetime.timedelta(hours=12)
"""How long the leader may evaluate or save; a dead one is noticed by its connection."""

_BUILD, _STEP, _FINISH = 1, 2, 3


@dataclass(frozen=True)
class ProcessRank:
    """Which of how many processes this is, and which on its node."""

    rank: int
    world: int
    local_rank: int


def place() -> ProcessRank:
    """The rank that srun gave this process; rank 0 of one outside of a job."""
    read = {
        name: int(os.environ.get(f"SLURM_{name}", default))
        for name, default in (("PROCID", "0"), ("NTASKS", "1"), ("LOCALID", "0"))
    }
    return ProcessRank(read["PROCID"], read["NTASKS"], read["LOCALID"])


@contextlib.contextmanager
def process_group(
    meeting: Path, place: ProcessRank, execution: Execution
) -> Iterator[None]:
    """Connect all processes; at the end the leader tells the others to finish.

    `meeting` names a new file on the shared file system, into which the leader writes
    its address, so that no port has to be agreed on.
    """
    backend = "gloo"
    if execution.device == "cuda":
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    store = _store(meeting.with_name(f"{meeting.name}_meeting.json"), place)
    distributed.init_process_group(
        backend, store=store, rank=place.rank, world_size=place.world, timeout=SILENCE
    )
    try:
        yield
        if place.rank == 0:
            with contextlib.suppress(RuntimeError):  # one of them may have died
                _command(_FINISH)
    finally:
        distributed.destroy_process_group()


def check_shares(config: RunConfig, world: int) -> None:
    """Refuse a run whose batch cannot give every process a row."""
    rows = config.training.batch_rows
    if rows < world:
        raise ValueError(
            "TrainingConfig.batch_rows must be at least the number of processes, "
            f"{world}, in data-parallel training; got {rows}. Use fewer nodes or tasks."
        )


class ShardedPack(Pack):
    """A pack of which this process works on some of the rows."""

    replays = False  # sums over processes are no part of a recorded step

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
        """Losses of the whole batch, and its gradients, on every process."""
        part = targets.rows(self._mine)
        loss_NK = loss_and_backward(self.model, part, self.piece_loss)
        grad_KP = self.lanes.gather_grad().contiguous()
        distributed.all_reduce(loss_NK)
        distributed.all_reduce(grad_KP)
        self.lanes.put_grad(grad_KP)
        return loss_NK


class LeaderPack(ShardedPack):
    """The pack of rank 0, which tells the followers to do the same."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        execution: Execution,
        restored: Sequence[Checkpoint] | None,
    ) -> None:
        check_shares(configs[0], distributed.get_world_size())
        _command(_BUILD)
        step = restored[0].place.step if restored else None
        _broadcast({"configs": [config.to_dict() for config in configs], "step": step})
        super().__init__(configs, execution, restored)

    def train_step(self, clock: dict[str, float]) -> None:
        """One step of every process."""
        _command(_STEP)
        super().train_step(clock)


def follow(root: Path, execution: Execution) -> None:
    """Take part in what the leader does until it finishes."""
    pack: ShardedPack | None = None
    clock: dict[str, float] = defaultdict(float)
    with numerics(execution):
        while True:
            command = _command()
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
    # The files that define them were imported from this launch: no other may be named.
    values = [one | {"plugins": []} for one in order["configs"]]
    configs = [RunConfig.from_dict(one) for one in values]
    restored = None
    if order["step"] is not None:
        folders = [RunFolder(root, config.run_id) for config in configs]
        restored = [checkpoints.load(folder, order["step"]) for folder in folders]
    return ShardedPack(configs, execution, restored)


def _broadcast(order: object = None) -> bytes:
    """Send (rank 0) or receive (the others) what to build, as JSON.

    torch would send objects as pickles, which run code, and an address on a shared file
    system does not prove who sends them.
    """
    data = torch.frombuffer(bytearray(json.dumps(order).encode()), dtype=torch.uint8)
    length = torch.tensor([len(data)])
    distributed.broadcast(length, src=0)
    if distributed.get_rank() > 0:
        data = torch.empty(int(length.item()), dtype=torch.uint8)
    distributed.broadcast(data, src=0)
    return bytes(data.tolist())


def _command(number: int = 0) -> int:
    """Send (rank 0) or receive (the others) what to do next."""
    word = torch.tensor([number])
    distributed.broadcast(word, src=0)
    return int(word.item())


def _store(meeting: Path, place: ProcessRank) -> TCPStore:
    """The store through which processes find each other, on a free port of rank 0."""
    timeout = datetime.timedelta(seconds=JOIN_TIMEOUT_S)
    if place.rank == 0:
        # The address that srun gives for the first node; names may not resolve.
        host = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or socket.gethostname()
        store = TCPStore(host, 0, place.world, True, timeout, wait_for_workers=False)
        address = json.dumps({"host": host, "port": store.port})
        write_atomically(meeting, address.encode())
        return store
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while not meeting.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"Rank 0 left no address in {meeting} within {JOIN_TIMEOUT_S:.0f} s: "
                "it did not start, or the runs folder is not on a shared file system."
            )
        time.sleep(0.1)
    address = json.loads(meeting.read_bytes())
    return TCPStore(address["host"], address["port"], place.world, False, timeout)

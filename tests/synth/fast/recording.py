"""A stand-in on the CPU for a CUDA graph, with a graph's semantics.

Recording carries nothing out: what the body wrote is put back, and what it made is
spoilt until the first replay. A replay runs no Python of the body, only the recorded
operations on the memory that they had: it reads what lies there now and writes its
results where they were. What a GPU cannot record (the host waiting for the device, values
of the host copied to it) is refused, as is memory that the body brought along.
"""

import contextlib
import gc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synth.pack import Pack
from synth.run.execution import Execution
from synth.training import train
from tests.synth.test_training import content

SHORT = {"steps": 6, "evaluation_examples": 0, "final_examples": 4}
"""For runs of which the first replays matter."""
WAITING = {
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "nonzero_numpy",
    "unique_consecutive",
    "unique_dim",
    "_unique2",
}
"""Operations whose result the host needs before it can go on."""
FROM_HOST = {"lift_fresh", "_copy_from"}
"""How values of Python become tensors."""
NOTHING_TO_DO = {"empty", "empty_like", "empty_strided", "new_empty"}


class Refused(RuntimeError):
    """What CUDA would not record."""


def _storage(tensor):
    return tensor.untyped_storage().data_ptr()


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _places_in_use():
    """Where the memory of all tensors lies that there are, and that have any."""
    places = set()
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            # Compilers leave tensors without memory behind.
            with contextlib.suppress(RuntimeError, NotImplementedError):
                places.add(_storage(thing))
    return places


class _Recording(TorchDispatchMode):
    """Notes every operation, and how to undo it."""

    def __init__(self):
        super().__init__()
        self.calls, self.made, self.before = [], {}, {}
        self.known = _places_in_use()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2].rstrip("_")
        given = _tensors((args, kwargs))
        self._refuse(name, args, given)
        self._keep_written(func, args, kwargs)
        out = func(*args, **kwargs)
        theirs = {_storage(tensor) for tensor in given}
        new = [t if _storage(t) not in theirs else None for t in _tensors(out)]
        for tensor in filter(lambda t: t is not None, new):
            self.made[_storage(tensor)] = tensor
        if name not in NOTHING_TO_DO:
            self.calls.append((func, args, kwargs, new))
        return out

    def _refuse(self, name, args, given):
        if name in WAITING:
            raise Refused(f"{name}: the host would wait for the device")
        if name in FROM_HOST:
            raise Refused(f"{name}: a value of the host in the midst of a step")
        masks = [t for t in _tensors(args[1:2]) if t.dtype == torch.bool]
        if name in ("index", "index_put", "_index_put_impl") and masks:
            raise Refused(f"{name}: the host would wait for the number of places")
        for tensor in given:
            place = _storage(tensor)
            if tensor.numel() and place not in self.known and place not in self.made:
                raise Refused(f"{name}: the body brought memory of its own")

    def _keep_written(self, func, args, kwargs):
        """Copies of what an operation is about to write over."""
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            for tensor in _tensors(value):
                where = _storage(tensor)
                if where not in self.before and where not in self.made:
                    storage = tensor.untyped_storage()
                    self.before[where] = (storage, storage.clone())


class RecordedGraph:
    """`synth.fast.replay.Graph` on the CPU."""

    def __init__(self):
        self.calls, self.replays, self.rehearsals = None, 0, 0

    def rehearse(self, body):
        self.rehearsals += 1
        return body()

    def capture(self, body):
        assert self.calls is None, "a graph is recorded once"
        recording = _Recording()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("tolist", "numpy", "cpu", "__array__"):
                patch.setattr(torch.Tensor, name, _waits(name))
            try:
                with recording:
                    found = body()
            finally:
                for storage, saved in recording.before.values():
                    storage.copy_(saved)
        for tensor in recording.made.values():
            if tensor.is_floating_point():
                tensor.detach().fill_(float("nan"))
        self.calls = recording.calls
        return found

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for func, args, kwargs, new in self.calls:
            out = _tensors(func(*args, **kwargs))
            for place, tensor in zip(new, out, strict=True):
                if place is not None:
                    place.copy_(tensor)


def _waits(name):
    def refuse(*_, **__):
        raise Refused(f"{name}: the host would wait for the device")

    return refuse


def trained(root, configs, **how):
    """Train runs to their end; the bytes that they leave."""
    outcomes = train(configs, root, **how)
    assert [outcome.state for outcome in outcomes] == ["done"] * len(configs), outcomes
    return [content(root, config) for config in configs]


def pack_of(*configs, steps=0, restored=None):
    """A pack after so many steps."""
    pack = Pack(configs, Execution(), restored)
    walk(pack, steps)
    return pack


def walk(pack, steps):
    """So many steps more."""
    for _ in range(steps):
        pack.train_step({"data": 0.0, "training": 0.0})

"""The stream of training rows of one run, with a cursor that can be saved."""

from concurrent.futures import Executor, Future

import numpy as np

from synth.tasks.checks import nothing_to_train
from synth.tasks.task import MOST_EMPTY_BLOCKS, Rows, Task


class RowStream:
    """Rows of blocks 0, 1, 2, ... in order; the cursor is (block, row within it).

    What the n-th row holds depends on (task, data seed, context) alone, so batch size,
    packing, resuming, model and objective cannot change the data. Given an executor,
    each block is generated there while the rows of the one before are taken; the cursor
    counts rows taken, whatever lies ready.
    """

    def __init__(
        self,
        task: Task,
        data_seed: int,
        context: int,
        block: int = 0,
        row: int = 0,
        ahead: Executor | None = None,
    ) -> None:
        self._task, self._data_seed, self._context = task, data_seed, context
        self._block, self._row = block, row
        self._rows: Rows | None = None
        self._ahead = ahead
        self._coming: Future[Rows] | None = None

    @property
    def cursor(self) -> tuple[int, int]:
        """Where the next row comes from; pass it to a new stream to go on there."""
        return self._block, self._row

    def take(self, count: int) -> Rows:
        """The next `count` rows.

        Raises `ValueError` where many blocks, one after another, hold none.
        """
        parts: list[Rows] = []
        missing = count
        empty = 0
        while missing:
            if self._rows is None:
                self._rows = self._begin_block()
                empty = 0 if len(self._rows) else empty + 1
                if empty == MOST_EMPTY_BLOCKS:
                    raise nothing_to_train(self._task, empty, self._context)
            part = self._rows[self._row : self._row + missing]
            parts.append(part)
            missing -= len(part)
            self._row += len(part)
            if self._row >= len(self._rows):
                self._block, self._row, self._rows = self._block + 1, 0, None
        return concatenate(parts)

    def _begin_block(self) -> Rows:
        """The rows of the block at the cursor; work on the next one starts."""
        coming, self._coming = self._coming, None
        rows = self._generate(self._block) if coming is None else coming.result()
        if self._ahead is not None:
            self._coming = self._ahead.submit(self._generate, self._block + 1)
        return rows

    def _generate(self, block: int) -> Rows:
        return self._task.train_rows(self._data_seed, block, self._context)


def concatenate(parts: list[Rows]) -> Rows:
    """Rows of equal length, one after another."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.tokens_RT for part in parts]),
        np.concatenate([part.example_RT for part in parts]),
        np.concatenate([part.answer_RT for part in parts]),
    )

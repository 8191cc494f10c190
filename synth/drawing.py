"""A drawing of tokens over what each head has to predict, for a person's eye."""

from collections.abc import Sequence

import numpy as np

from synth.tasks.task import Rows


def draw_targets(
    rows: Rows, row: int, vocabulary: Sequence[str], horizon: int, scored: str
) -> str:
    """Tokens of a row, and below each the targets of heads 1..n.

    ```
    tokens   ( [ 2 1 ] + [ 0 1 ] ) = 2 2 .
    answer                           x x x
    head 1   [ 2 1 ] + [ 0 1 ] ) = 2 2 . -
    ```

    A dash marks a position whose target is not scored.
    """
    length = int((rows.example_RT[row] > 0).sum())
    tokens = rows.tokens_RT[row, :length]
    example, answer = rows.example_RT[row, :length], rows.answer_RT[row, :length]
    words = [vocabulary[token] for token in tokens]
    lines = {"tokens": words, "answer": ["x" if mark else "" for mark in answer]}
    for ahead in range(1, horizon + 1):
        targets = []
        for t in range(length):
            inside = t + ahead < length and example[t + ahead] == example[t]
            counts = inside and (scored == "all" or bool(answer[t + ahead]))
            targets.append(words[t + ahead] if counts else "-")
        lines[f"head {ahead}"] = targets
    widths = np.max([[len(w) for w in line] for line in lines.values()], axis=0)
    return "\n".join(
        f"{name:<9}" + " ".join(w.rjust(n) for w, n in zip(line, widths, strict=True))
        for name, line in lines.items()
    )

"""Draws the tokens of an example above the targets of each head."""

from synth.objectives.objective import ObjectiveConfig
from synth.tasks.task import Sample


def draw_targets(sample: Sample, objective: ObjectiveConfig) -> str:
    """Tokens of an example, and below each the targets of the objective's heads.

    ```
    tokens   ( [ 2 1 ] + [ 0 1 ] ) = 2 2 .
    answer                           x x x
    head 1   [ 2 1 ] + [ 0 1 ] ) = 2 2 . -
    ```

    A dash marks a position whose target is not scored (`scored` as in
    `synth.objectives.objective.ObjectiveConfig`).
    """
    words, answer = list(sample.tokens), list(sample.answer)
    length = len(words)
    lines = {"tokens": words, "answer": ["x" if mark else "" for mark in answer]}
    everything = objective.scored == "all"
    for number, head in enumerate(objective.heads(), 1):
        lines[f"head {number}"] = [
            words[t] if t < length and (everything or answer[t]) else "-"
            for t in range(head.offset, length + head.offset)
        ]
    widths = [max(len(line[t]) for line in lines.values()) for t in range(length)]
    return "\n".join(
        f"{name:<9}" + " ".join(w.rjust(n) for w, n in zip(line, widths, strict=True))
        for name, line in lines.items()
    )

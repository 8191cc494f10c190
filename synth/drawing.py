"""A drawing of tokens over what each head has to predict, for a person's eye."""

from synth.tasks.task import Sample


def draw_targets(sample: Sample, horizon: int, scored: str = "all") -> str:
    """Tokens of an example, and below each the targets of heads 1..n.

    ```
    tokens   ( [ 2 1 ] + [ 0 1 ] ) = 2 2 .
    answer                           x x x
    head 1   [ 2 1 ] + [ 0 1 ] ) = 2 2 . -
    ```

    A dash marks a position whose target is not scored (`scored` as in
    `synth.config.ObjectiveConfig`).
    """
    words, answer = list(sample.tokens), list(sample.answer)
    length = len(words)
    lines = {"tokens": words, "answer": ["x" if mark else "" for mark in answer]}
    for ahead in range(1, horizon + 1):
        lines[f"head {ahead}"] = [
            words[t] if t < length and (scored == "all" or answer[t]) else "-"
            for t in range(ahead, length + ahead)
        ]
    widths = [max(len(line[t]) for line in lines.values()) for t in range(length)]
    return "\n".join(
        f"{name:<9}" + " ".join(w.rjust(n) for w, n in zip(line, widths, strict=True))
        for name, line in lines.items()
    )

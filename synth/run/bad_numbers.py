"""Numbers with which a run cannot go on, in words."""

from collections.abc import Sequence

from synth.config import RunConfig
from synth.identity import first_few
from synth.metrics import Measurement


def not_finite(
    config: RunConfig, step: int, losses: Sequence[float], norm: float
) -> str:
    """Words for a loss or gradient norm that is NaN or infinite; losses are by term."""
    terms = zip(config.objective.terms(), losses, strict=True)
    advice = (
        f"A lower learning rate than {config.training.learning_rate} may help."
        if step > 1
        else "Nothing was updated before, so the learning rate is not the cause: "
        "look at the losses and weights of the objective."
    )
    return (
        f"The loss or its gradient is not finite at step {step}: loss "
        f"{', '.join(f'{loss} ({term})' for term, loss in terms)}, gradient norm "
        f"{norm}. {advice}"
    )


def require_usable(rows: Sequence[Measurement], first_losses: bool) -> None:
    """Refuse what a run measured at a step, if it cannot mean anything (`ValueError`).

    That is a score that is NaN or infinite although something was counted, and, among
    the first means of training losses, a term without any target. Such means hold the
    first step, whose loss is exactly zero only where there is nothing to predict.
    """
    undefined = [row.name for row in rows if row.value is None and row.count]
    if undefined:
        raise ValueError(
            f"Not finite at step {rows[0].step}: {first_few(undefined)}. Either the "
            "outputs of the model overflow (a lower learning rate may help), or the task "
            "divides by zero: a score of nothing has the count 0."
        )
    losses = [row for row in rows if (row.suite, row.metric) == ("train", "loss")]
    idle = [row.slice for row in losses if row.value == 0.0]
    if first_losses and idle:
        raise ValueError(
            f"In the first {losses[0].step} steps the loss has nothing to predict for "
            f"{first_few(idle)}: no scored token of the training rows is that far ahead in "
            "its example. Predict fewer tokens ahead, or train on longer examples."
        )

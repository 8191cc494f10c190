"""The entry to this folder: gives a model the form of the training step that suits it."""

import warnings

import torch

from synth.fast import native
from synth.fast.compilation import StepForm
from synth.fast.fused import fuse
from synth.fast.precision import advice
from synth.models.backward import PieceLoss
from synth.models.decoder import PredictionModel


def accelerate(
    model: PredictionModel, scorer: PredictionModel, form: StepForm, device: str
) -> tuple[StepForm, PieceLoss | None]:
    """Give the layers of a model on flat lanes the chosen form.

    `scorer` is the model in fp32 that evaluates, which may be `model` itself. Returns
    the form that was installed, and its own loss of a head's positions, if it has one.
    Without a compiler it warns, and the step stays eager.
    """
    usable, reason = True, ""
    if form == "native":
        usable, reason = native.available()
    elif form in ("torch", "graph"):
        usable, reason = native.prepare_torch_compile(device)
    if not usable:
        warnings.warn(f"The step is not compiled: {reason}.", stacklevel=2)
        form = "eager"
    precision = "fp32" if model.embedding_KVD.dtype == torch.float32 else "bf16"
    if word := advice(precision, form, device, model.config.shape.width):
        warnings.warn(word, stacklevel=2)
    if form == "native":
        if scorer is not model:
            fuse(scorer, native.load(torch.float32))
        return form, fuse(model, native.load(model.embedding_KVD.dtype))
    if form in ("torch", "graph"):
        for layer in model.layers():
            layer.compile()
    return form, None

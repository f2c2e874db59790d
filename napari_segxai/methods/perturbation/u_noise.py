"""U-Noise: a small network learns how much noise each pixel of an image can bear.

    B = sigmoid(noise network(x))      x' = x + sd (B (max - min) + min) e,   e ~ N(0, 1)
    minimise   BCE(label in f(x'), reference) - reward * mean(log B)          map = 1 - B

with f the network to explain, frozen, and sd the deviation of every channel. Koker, Mireshghallah, Titcombe,
Kaissis, ICIP 2021; smoothing B with a bilateral filter follows Okamoto et al. 2023. The reference is the network's
own prediction, or the truth from a folder; images come from one folder, or are the current one, flipped and
brightened. The noise network is a U-Net of `depth` levels, trained with Adam; it can be saved (safetensors,
hyper-parameters in the metadata) and trained further, with the result that one long training would have given. Cost:
steps x batch forward and backward passes; without a folder as many forward passes again; one per image of the
folder; 22 at the end. With a trained file and no further steps, only those 22.

The map is the model's of all images it was trained on, not a search on this one: it is as good as its training.
Compare `dice_with_noise` with 1: if it is low, B has not learnt yet what must be spared, or `noise_min` is too much
already. The curve "visible" says how well the pixels of least noise alone carry the prediction. Trained on one image
it shows what this image bears, and generalises to no other; with a 2D model on a volume and a file, the first slice
trains for all. M only decides whether there is something to explain; B is learnt for the label in the whole image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.noise_network.file import NAME
from napari_segxai.methods.noise_network.options import Options
from napari_segxai.methods.noise_network.samples import read_samples
from napari_segxai.methods.noise_network.training import Training
from napari_segxai.methods.registry import Size, explainer

LEVELS = 21
"""Thresholds at which the least noisy pixels alone are shown to the network, as in the authors' evaluation."""


def _passes(options: Options, size: Size) -> Passes:
    steps = options.steps * options.batch
    own = 0 if options.truth else len(options.files) if options.folder else steps
    return Passes(1 + own + steps + LEVELS + 1, steps)


@explainer(
    NAME,
    title="U-Noise",
    question="need",
    needs=("gradients", "training"),
    summary="where a trained noise network must not disturb the image, if the prediction is to stay the same",
    unit="1 − noise that the pixel bears",
    source="Koker et al., ICIP 2021; Okamoto et al. 2023",
    cites=("koker2021", "okamoto2023"),
    options=Options,
    passes=_passes,
    presets={"koker": {"steps": 2000, "batch": 8, "channels": 16}, "okamoto": {"bilateral": 1.0}},
)
def u_noise(question: Question, options: Options) -> Steps[Finding]:
    """Train the noise network, or go on training it, and look at what it spares."""
    _ = question.pixels
    yield question.step("prediction")
    training = Training(question, options)
    losses: list[tuple[int, Tensor]] = []

    def finding() -> Finding:
        with torch.inference_mode():
            noise = training.noise_of(question.input)[0, 0]
        rows = [(k, float(value)) for k, value in losses]
        return Finding(
            1 - noise,
            numbers={
                "steps_trained": training.done,
                "loss": rows[-1][1] if rows else None,
                "mean_noise": float(noise.mean()),
                "weights_of_noise_network": sum(p.numel() for p in training.net.parameters()),
            },
            curves={"training": {"step": [k for k, _ in rows], "loss": [value for _, value in rows]}},
            warnings=[],
        )

    if training.done < options.steps:
        samples = yield from read_samples(question, options)
        before = training.done
        try:
            while training.done < options.steps:
                losses.append((training.done, training.step(samples)))
                yield question.step(f"training {training.done} of {options.steps}", finding)
        finally:  # a stopped training is kept as well
            if options.weights and training.done > before:
                training.save()
    result = finding()
    yield from _judge(question, options, training, 1 - result.map, result)
    return result


def _judge(
    question: Question, options: Options, training: Training, noise: Tensor, result: Finding
) -> Steps[None]:
    """Add how much of the prediction survives the noise, and how much the least noisy pixels alone carry."""
    predicted = question.predicted
    drawn = training.random(2**32).standard_normal(
        question.input.shape, np.float32
    )  # no step has this number
    with torch.inference_mode():
        disturbed = training.disturb(
            question.input, noise[None, None], torch.from_numpy(drawn).to(question.device)
        )
        result.numbers["dice_with_noise"] = float(
            dice(question.drawn(question.forward(disturbed)), predicted)
        )
    yield question.step("with noise")
    # Quantiles by sorting: torch.quantile takes no large volumes.
    ordered = noise.flatten().sort().values
    last = len(ordered) - 1
    thresholds = torch.stack([ordered[round(last * k / (LEVELS - 1))] for k in range(LEVELS)])
    shape = (-1,) + (1,) * (noise.ndim + 1)
    visible: list[float] = []
    values: list[float] = []

    def consume(_start: int, masks: Tensor, logits: Tensor) -> None:
        visible.extend(masks.flatten(1).mean(1).tolist())
        values.extend(dice(question.drawn(logits), predicted).tolist())

    yield from perturb(
        question,
        LEVELS,
        lambda start, n: (noise <= thresholds[start : start + n].view(shape)).float(),
        consume,
        hide=question.hide(options.baseline),
        note="least noisy pixels",
    )
    result.curves["visible"] = {"share_visible": visible, "dice": values}
    result.numbers["dice_at_median"] = values[LEVELS // 2]
    if result.numbers["dice_with_noise"] < 0.5:
        result.warnings.append(
            f"the noise destroys the prediction (Dice {result.numbers['dice_with_noise']:.2f}): train longer, or lower "
            "noise_min or reward, before you believe the map."
        )

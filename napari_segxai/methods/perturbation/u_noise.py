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

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.arguments import whole_number
from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.options import MOST, option
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.engine.primitives.perturb import perturb
from napari_segxai.engine.question import Question
from napari_segxai.engine.scores import dice
from napari_segxai.methods.noise_file import NAME, network_of, read_noise_file, write_noise_file
from napari_segxai.methods.noise_net import NoiseNet, bilateral, deviation
from napari_segxai.methods.registry import Size, explainer

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam keeps of every parameter."""

LEVELS = 21
"""Thresholds at which the least noisy pixels alone are shown to the network, as in the authors' evaluation."""
SLICES = 8
"""Slices of a volume that a 2D model is trained on, evenly spread."""


@dataclass(frozen=True)
class Options:
    """Parameters of u-noise.

    Raises
    ------
    UserError
        If a folder or a file cannot be used, or the noise range is empty.
    """

    folder: str = option(
        "", help="folder of images to train on; empty: the current image, flipped and brightened"
    )
    truth: str = option(
        "", help="folder of label files of the same names; empty: the network's own predictions"
    )
    weights: str = option("", help="file.safetensors to go on from, if it exists, and to save to")
    steps: int = option(
        100, ge=0, help="steps of training, those of the file included; the paper takes thousands"
    )
    batch: int = option(2, ge=1, unit="images", help="images per step; 8 in the paper")
    depth: int = option(2, ge=1, le=5, help="levels of the noise network")
    channels: int = option(8, ge=1, le=1024, help="its channels at the first level; 16 in the paper")
    noise_min: float = option(1.0, ge=0, unit="deviations", help="noise where B is 0")
    noise_max: float = option(5.0, gt=0, unit="deviations", help="noise where B is 1")
    reward: float = option(
        0.001, ge=0, help="weight of noise: a higher one leaves fewer pixels without noise"
    )
    bilateral: float = option(
        0.0, ge=0, le=100, unit="cells", help="width of a bilateral filter over B; 0: none"
    )
    lr: float = option(3e-3, gt=0, advanced=True, help="learning rate of Adam")
    images: int = option(
        40, ge=1, advanced=True, help="largest number of images that are read from the folder"
    )
    baseline: Baseline = option("zero", help=HELP, advanced=True)

    def __post_init__(self) -> None:
        if self.noise_max <= self.noise_min:
            raise UserError(f"{NAME}: noise_max has to be above noise_min ({self.noise_min:g}).")
        if self.truth and not self.folder:
            raise UserError(f"{NAME}: truth needs the folder of the images that it belongs to.")
        for name in ("folder", "truth"):
            value = getattr(self, name)
            if value and not user_path(value).is_dir():
                raise UserError(
                    f"{NAME}: {name} {value!r} is not a folder; give an existing one, or leave it empty."
                )
        if self.weights:
            from napari_segxai.io.saving import check_file

            path = user_path(self.weights)
            if path.suffix != ".safetensors" or not path.parent.is_dir():
                raise UserError(
                    f"{NAME}: weights {self.weights!r} has to be a file ending in .safetensors in an existing folder."
                )
            check_file(path)
        if self.steps == 0 and not (self.weights and user_path(self.weights).exists()):
            raise UserError(
                f"{NAME}: steps 0 needs weights that are trained already; name their file, or train."
            )
        if self.folder and not self.files:
            raise UserError(f"{NAME}: folder {self.folder!r} holds no image.")

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The images of the folder, in order of their names."""
        from napari_segxai.io import PICTURES, VOLUMES, ending

        if not self.folder:
            return ()
        known = set(PICTURES + VOLUMES) - {".img"}  # the other half of .hdr
        found = sorted(p for p in user_path(self.folder).iterdir() if ending(p) in known)
        return tuple(found[: self.images])


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
    training = _Training(question, options)
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
        samples = yield from _samples(question, options)
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


# -- the noise network -------------------------------------------------------------------------------


class _Training:
    """The noise network, its optimiser, and the file that they come from and go to."""

    def __init__(self, question: Question, options: Options):
        self.question, self.options = question, options
        self.done = 0
        dims, inputs = len(question.grid), question.input.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(question.seed)
            net = NoiseNet(dims, inputs, options.depth, options.channels)
        self.net = net.to(question.device)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=options.lr)
        self.path = user_path(options.weights) if options.weights else None
        self.facts = {
            "method": NAME,
            "model": question.model.sha256,
            "label": question.model.labels[question.label],
            "spatial_dims": dims,
            "inputs": inputs,
            **{
                name: getattr(options, name)
                for name in ("depth", "channels", "noise_min", "noise_max", "reward", "bilateral")
            },
        }
        if self.path is not None and self.path.exists():
            self._load(self.path)

    def noise_of(self, tensor: Tensor) -> Tensor:
        """Return B: (N, 1, *grid) in [0, 1]."""
        return self._smooth(self.net(tensor).sigmoid())

    def _smooth(self, noise: Tensor) -> Tensor:
        return bilateral(noise, self.options.bilateral) if self.options.bilateral else noise

    def disturb(self, tensor: Tensor, noise: Tensor, drawn: Tensor) -> Tensor:
        """Add noise of the given amount."""
        low, high = self.options.noise_min, self.options.noise_max
        return tensor + deviation(tensor) * (noise * (high - low) + low) * drawn

    def random(self, number: int) -> np.random.Generator:
        """Return the random numbers of a step: the same on every device, and in a resumed training."""
        return np.random.Generator(np.random.Philox(key=self.question.seed, counter=[0, 0, 0, number]))

    def step(self, samples: Samples) -> Tensor:
        """Take one step and return the loss before it."""
        random = self.random(self.done)
        x, reference = samples.draw(random, self.options.batch)
        drawn = torch.from_numpy(random.standard_normal(x.shape, np.float32)).to(x.device)
        parameters = list(self.net.parameters())
        with torch.enable_grad():
            raw = self.net(x)
            noise = self._smooth(raw.sigmoid())
            logits = self.question.forward(self.disturb(x, noise, drawn))
            kept = F.binary_cross_entropy_with_logits(_against_rest(self.question, logits), reference)
            # The logarithm of B before the filter, in a form that has a gradient even where B has gone to 0.
            loss = kept - self.options.reward * F.logsigmoid(raw).mean()
            if not kept.requires_grad:
                raise UserError(
                    f"{self.question.model.name} passes no gradient from its output to its input, so that {NAME} cannot "
                    "be trained; use a method without gradients, such as rise."
                )
            gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.adam.step()
        self.question.passes.backward += len(x)
        self.done += 1
        return loss.detach()

    def save(self) -> None:
        """Write weights, state of the optimiser and hyper-parameters; an older file is replaced at once."""
        assert self.path is not None  # `save` is for a training that has a file
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            for key in MOMENTS:
                tensors[f"{key}.{name}"] = self.adam.state[parameter][key]
        write_noise_file(self.path, {**self.facts, "steps": self.done}, tensors)

    def _load(self, path: Path) -> None:
        facts, tensors = read_noise_file(path)
        for name, value in self.facts.items():
            if facts.get(name) != value:
                other = "another model" if name == "model" else f"{name} {facts.get(name)!r}, not {value!r}"
                raise UserError(f"{path} was trained for {other}; name another file, or ask for the same.")
        try:
            self.net.load_state_dict(network_of(tensors))
            self.done = whole_number(facts["steps"], "steps", 0, MOST)
            for name, parameter in self.net.named_parameters():
                moments = {key: tensors[f"{key}.{name}"].to(parameter) for key in MOMENTS}
                if any(moment.shape != parameter.shape for moment in moments.values()):
                    raise ValueError(f"the moments of {name} have another shape")
                self.adam.state[parameter] = {"step": torch.tensor(float(self.done)), **moments}
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{path} holds a noise network that does not fit what the file says of it ({reason_of(error)}); name another file."
            ) from error


def _against_rest(question: Question, logits: Tensor) -> Tensor:
    """Return the logit of the label's probability: (N, labels, *grid) -> (N, *grid)."""
    own = logits[:, question.label]
    if question.model.card.activation == "sigmoid":
        return own
    others = [logits[:, k] for k in range(logits.shape[1]) if k != question.label]
    return own - torch.stack(others).logsumexp(0)


# -- what it is trained on ---------------------------------------------------------------------------


class Samples:
    """Images with the reference that has to stay; without images, the question's own, changed at random."""

    def __init__(self, question: Question, pairs: Sequence[tuple[Tensor, Tensor]] = ()):
        self.question = question
        self.groups: list[list[tuple[Tensor, Tensor]]] = [
            list(group)
            for _, group in itertools.groupby(
                sorted(pairs, key=lambda pair: tuple(pair[0].shape)), key=lambda pair: tuple(pair[0].shape)
            )
        ]

    def draw(self, random: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Return (n, channels, *grid) and the reference (n, *grid), 0 or 1: images of one shape."""
        device = self.question.device
        if not self.groups:
            return self._changed(random, count)
        sizes = np.array([len(group) for group in self.groups])
        group = self.groups[int(random.choice(len(sizes), p=sizes / sizes.sum()))]
        chosen = [group[int(k)] for k in random.choice(len(group), min(count, len(group)), replace=False)]
        inputs, references = (torch.cat(parts).to(device) for parts in zip(*chosen, strict=True))
        return inputs, references

    def _changed(self, random: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        x, out = self.question.input, []
        for _ in range(count):
            axes = [axis for axis in range(2, x.ndim) if random.random() < 0.5]
            gain, shift = random.uniform(0.9, 1.1), random.uniform(-0.1, 0.1)
            mean = x.mean(tuple(range(2, x.ndim)), keepdim=True)
            out.append((mean + gain * (x - mean) + shift * deviation(x)).flip(axes))
        changed = torch.cat(out)
        with torch.no_grad():
            return changed, self.question.drawn(self.question.forward(changed)).float()


def _samples(question: Question, options: Options) -> Steps[Samples]:
    """Read the folder; the references are the network's own predictions, or the truth."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for file in options.files:
        for tensor, truth in _read(question, options, file):
            if truth is None:
                with torch.no_grad():
                    truth = question.drawn(question.forward(tensor.to(question.device)))[0]
                yield question.step(f"prediction of {file.name}")
            pairs.append((tensor, truth[None].float().cpu()))
    return Samples(question, pairs)


def _read(question: Question, options: Options, file: Path) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the network's input (1, channels, *grid) and the truth (*grid) for every slice that is used."""
    # Reading files is the business of io/, which is imported only when there is a folder.
    from napari_segxai.io import ending, read_image
    from napari_segxai.models.ground_truth import truth_of

    image = read_image(file)
    model = question.model
    try:
        count = model.slices(image)
        slices = [None]
        if count is not None:
            slices = sorted({int(k) for k in np.linspace(0, count - 1, min(SLICES, count)).round()})
        prepared = [model.prepare(image, k) for k in slices]
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    labels = None
    if options.truth:
        stem = lambda path: path.name.lower().removesuffix(ending(path))  # noqa: E731
        folder = user_path(options.truth)
        found = [p for p in sorted(folder.iterdir()) if ending(p) and stem(p) == stem(file)]
        if not found:
            raise UserError(f"{NAME}: {folder} holds no truth for {file.name}; it has to have the same name.")
        labels, _ = truth_of(read_image(found[0]), image, model, question.label)
    for each in prepared:
        yield each.tensor, None if labels is None else each.placement.mask_to_grid(labels)


# -- what it has learnt ------------------------------------------------------------------------------


def _judge(
    question: Question, options: Options, training: _Training, noise: Tensor, result: Finding
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

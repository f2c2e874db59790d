"""How the noise network is trained, and goes on from its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.arguments import whole_number
from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.options import MOST
from napari_segxai.core.paths import user_path
from napari_segxai.engine.question import Question
from napari_segxai.methods.noise_network.file import NAME, network_of, read_noise_file, write_noise_file
from napari_segxai.methods.noise_network.net import NoiseNet, bilateral, deviation
from napari_segxai.methods.noise_network.options import Options
from napari_segxai.methods.noise_network.samples import Samples

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam keeps of every parameter."""


class Training:
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
            kept = F.binary_cross_entropy_with_logits(against_rest(self.question, logits), reference)
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


def against_rest(question: Question, logits: Tensor) -> Tensor:
    """Return the logit of the label's probability: (N, labels, *grid) -> (N, *grid)."""
    own = logits[:, question.label]
    if question.model.card.activation == "sigmoid":
        return own
    others = [logits[:, k] for k in range(logits.shape[1]) if k != question.label]
    return own - torch.stack(others).logsumexp(0)

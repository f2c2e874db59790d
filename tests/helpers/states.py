"""The state of a network before and after a job."""

from __future__ import annotations

import torch
from helpers.networks import LinearHead
from torch import nn

from napari_segxai.methods.registry import all_methods
from napari_segxai.models.introspection.modules import named_modules

METHODS = [method.name for method in all_methods("image")]


# Several batches of each, so that one can be stopped between them.
SMALL = {
    "extremal-perturbation": {"iterations": 10},
    "kernel-shap": {"samples": 128},
    "lime": {"samples": 128},
    "seg-sobol": {"designs": 4},
    "integrated-gradients": {"steps": 8},
    "guided-integrated-gradients": {"steps": 8},
    "adversarial-attack": {"steps": 8},
    "deep-dream": {"steps": 6},
    "object-edit": {"steps": 2, "iterations": 6},
    "grid-saliency": {"mode": "object", "iterations": 3},  # in the end this label needs next to nothing
    "u-noise": {"steps": 3, "depth": 1, "channels": 2},
    "rise": {"masks": 40},
    "misure": {"iterations": 5, "kernel": 3},
    "adapted-seg-score-cam": {"merge": "sum of raw"},
    "guided-grad-cam": {"layer": "last"},  # the CAM of the bottleneck is negative here
}


def state_of(module: nn.Module):
    """Everything about a module that explaining must not change."""
    return (
        [m.training for _, m in named_modules(module)] + [module.training],
        [p.requires_grad for p in module.parameters()],
        [p.grad is None for p in module.parameters()],
        [
            len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks)
            for _, m in named_modules(module)
        ],
        {name: value.clone() for name, value in module.state_dict().items()},
    )


def assert_same_state(before, after):
    assert before[:4] == after[:4]
    for name, value in before[4].items():
        assert torch.equal(value, after[4][name])


class PassCounter:
    """Counts the passes of a network and of its copies, and lets one of them fail.

    `forward` and `backward` count whole images of `pixels`: of a part of an image its share.
    """

    pixels = 32 * 32

    def __init__(self):
        self.calls, self.fail_at, self.error = 0, None, RuntimeError("boom")
        self.forward = self.backward = 0.0

    def note(self, inputs, outputs):
        """Count what a pass was given, and what comes back through what it returned."""
        images = inputs.numel() / self.pixels
        self.forward += images

        def came_back(_):
            self.backward += images

        if outputs.requires_grad:
            outputs.register_hook(came_back)
        return outputs

    def __deepcopy__(self, memo):
        return self

    def count(self):
        self.calls += 1
        if self.fail_at is not None and self.calls >= self.fail_at:
            raise self.error


class Mixed(LinearHead):
    """Parts in training mode, parts frozen, and a batch normalisation that would notice training mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.pool, self.up = nn.AvgPool2d(2), nn.ConvTranspose2d(6, 6, 2, stride=2)
        self.features[0].weight.requires_grad_(False)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([0.0, 0.3]))  # so that something is predicted as the object
        self.train()
        self.features.eval()
        self.tally = PassCounter()

    def forward(self, x):
        self.tally.count()
        return self.tally.note(x, self.head(self.up(self.pool(self.norm(self.features(x))))))

"""The recorder: any module, any call, any number of labels, whatever the network does with what it returns."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card
from helpers.replayed import InPlace, ask

import napari_segxai as sx
from napari_segxai.engine.primitives.activations import LayerRecorder


def test_values_are_those_before_they_are_overwritten():
    question = ask(InPlace().eval())
    module = question.model.module
    with question.model.in_use("cpu"):
        tape = LayerRecorder(question, ["stem", "block", "block@2", "norm"])
        gradients = tape.gradients(tape.logits[0, 1].sum())
        x = question.input
        stem = module.stem(x).detach()
        first = (module.block.conv(stem) * 0.5).detach()
        for found, expected in zip(tape.activations, (stem, first), strict=False):
            torch.testing.assert_close(found, expected)

        def rest(first: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
            y = module.norm(module.block.conv(first.relu()) * 2.0) + skip + 1
            return module.head(y)[0, 1].sum()

        leaf = first.clone().requires_grad_(True)
        (expected,) = torch.autograd.grad(rest(leaf, stem), leaf)
        torch.testing.assert_close(gradients[1], expected)
        leaf = stem.clone().requires_grad_(True)
        (expected,) = torch.autograd.grad(rest(module.block.conv(leaf) * 0.5, leaf), leaf)
        torch.testing.assert_close(gradients[0], expected)


def test_one_forward_pass_serves_any_number_of_backward_passes():
    question = ask(LinearHead(labels=4), labels=["background", "object", "b", "c"])
    with question.model.in_use("cpu"):
        tape = LayerRecorder(question, ["features.0", "features"])
        both = [tape.gradients(tape.logits[0, k].sum(), keep=k < 3) for k in range(4)]
        for k, gradients in enumerate(both):
            [_, last] = gradients
            weight = question.model.module.head.weight[k].view(1, -1, 1, 1)
            torch.testing.assert_close(last, weight.expand_as(last).contiguous())
    assert (question.passes.forward, question.passes.backward) == (1, 4)


def test_gradients_are_handed_on_as_they_come_and_not_kept():
    question = ask(LinearHead())
    alive: list[weakref.ref] = []
    with question.model.in_use("cpu"):
        tape = LayerRecorder(question, ["features.0", "features.1", "features.2"])
        order: list[int] = []

        def take(k: int, gradient: torch.Tensor) -> None:
            order.append(k)
            alive.append(weakref.ref(gradient))

        tape.each_gradient(tape.logits.sum(), take)
    assert sorted(order) == [0, 1, 2]
    assert order[0] == 2  # the last layer's comes first
    assert all(ref() is None for ref in alive)


def test_hooks_are_gone_afterwards():
    question = ask(LinearHead())
    with question.model.in_use("cpu"):
        tape = LayerRecorder(question, ["features.1"])
        tape.gradients(tape.logits.sum())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in question.model.module.modules())


def test_a_layer_that_did_not_run_on_this_image_is_told():
    class Moody(LinearHead):
        """Leaves a module out for images that are dark."""

        def __init__(self):
            super().__init__()
            self.extra = torch.nn.Conv2d(6, 6, 1)

        def forward(self, x):
            f = self.features(x)
            return self.head(self.extra(f) if x.mean() > -10 else f)

    model = sx.load_model(Moody(), card=card())
    dark = sx.Image(
        np.full((16, 16), -100, np.float32) + np.random.default_rng(0).normal(size=(16, 16)).astype("f4")
    )
    with pytest.raises(sx.UserError, match="did not run network layer 'extra' on this image"):
        sx.explain(model, dark, sx.Target("object", region="image"), "seg-hires-grad-cam", layer="extra")

"""Kernel-weighted maps: planted kernels, and the formula written out."""

from __future__ import annotations

import torch
from helpers.cam_parts import ask, close, parts
from helpers.cams import setup
from torch import nn

import napari_segxai as sx


def test_kernel_weighted_finds_the_one_kernel_that_counts():
    model, image = setup(2)
    with torch.no_grad():
        model.module.head.weight.zero_()
        model.module.head.weight[1, 3] = 5.0
        model.module.head.bias.copy_(torch.tensor([0.5, 0.0]))
    found = ask(model, image, "kernel-weighted", sx.Target("object", region="image"), layer="features.2")
    x = torch.from_numpy(image.array)[None, None]
    kernel = model.module.features(x)[0, 3].clamp(min=0)
    close(found, kernel)  # weight 1 for that kernel, 0 for all others


def test_kernel_weighted_written_out_by_editing_kernels():
    model, image, _, _, _, inside = parts(2)
    module, x = model.module, torch.from_numpy(image.array)[None, None]
    conv = module.features[2]
    own, random = conv.weight.detach().clone(), torch.empty_like(conv.weight)
    nn.init.xavier_uniform_(random, generator=torch.Generator().manual_seed(7))
    p = lambda: (module(x).softmax(1)[0, 1] * inside).detach()
    whole, weights = p(), []
    for k in range(6):
        conv.weight.data = own.clone()
        conv.weight.data[k] = random[k]
        dependence = (whole - torch.minimum(p(), whole)).sum()
        conv.weight.data = random.clone()
        conv.weight.data[k] = own[k]
        weights.append(dependence * torch.minimum(p(), whole).sum() / whole.sum())
    conv.weight.data = own
    weights = torch.stack(weights)
    weights = (weights - weights.min()) / (weights.max() - weights.min())
    a = module.features(x)[0].clamp(min=0)
    close(ask(model, image, "kernel-weighted", layer="features", seed=7), torch.tensordot(weights, a, dims=1))

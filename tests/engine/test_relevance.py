"""Relevance: the ledger closes whatever a network computes with, and the rules are those of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.odd_networks.transformers import Transformer
from helpers.relevance import Between, propagated, z_plus_by_hand
from skimage.data import astronaut
from torch import nn

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.relevance.weighted import Rules
from napari_segxai.models.zoo.linknet3d import LinkNet3d
from napari_segxai.models.zoo.resnet_unet import ResNetUNet
from napari_segxai.models.zoo.selfie import SelfieSegmenter
from napari_segxai.models.zoo.unet import UNet

IMAGES = resource("sample_data/images")

RULES = ("epsilon", "z-plus", "alpha-beta", "composite")


def _into_ones(x):
    kept = torch.ones_like(x).detach()
    kept[:, :3] = x[:, :3]
    return kept


class OwnSwish(torch.autograd.Function):
    """x sigmoid(x), with a backward pass of its own, which spares memory."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return g * gate * (1 + x * (1 - gate))


def _filtered(x):
    """Frequencies weighed by complex weights."""
    weights = torch.polar(torch.ones(6, 6), torch.arange(36.0).view(6, 6)).to(torch.complex64)
    return torch.fft.irfft2(torch.einsum("bixy,io->boxy", torch.fft.rfft2(x), weights), s=x.shape[-2:])


def _places(x):
    even = F.affine_grid(torch.tensor([[[0.9, 0.1, 0.0], [0.0, 0.9, 0.1]]]), x.shape, align_corners=False)
    return even + 0.1 * x[:, :2].permute(0, 2, 3, 1).tanh()


def _made_kernel(x):
    return x.mean((2, 3)).view(6, 1, 1, 1).expand(6, 1, 3, 3), x.mean((0, 2, 3))


def _flat_values(x):
    return x.flatten(2)[0].T


MIDDLES = {
    "instance norm and relu in place": nn.Sequential(
        nn.Conv2d(6, 6, 3, padding=1), nn.InstanceNorm2d(6), nn.LeakyReLU(0.01, inplace=True)
    ),
    "conv of one image": lambda x: F.conv2d(x[0], torch.ones(6, 6, 1, 1)).relu_()[None],
    "relu": F.relu,
    "relu in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardswish in place": lambda x: F.hardswish(x, inplace=True),
    "silu": F.silu,
    "silu by hand": lambda x: x * torch.sigmoid(x),
    "gelu": F.gelu,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "leaky": lambda x: F.leaky_relu_(x, 0.1),
    "prelu": nn.PReLU(6),
    "where": lambda x: torch.where(x > 0, x, 0.1),
    "mask": lambda x: x * (x > 0),
    "exp": torch.exp,
    "square": lambda x: x * x,
    "product": lambda x: x * x.flip(1),
    "glu": lambda x: torch.cat([F.glu(x, 1)] * 2, 1),
    "one minus": lambda x: 1 - x,
    "add in place": lambda x: x.add_(2),
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "gate in place": lambda x: x.mul_(torch.sigmoid(x)),
    "divided": lambda x: x / x.abs().amax(),
    "unit length": lambda x: F.normalize(x, dim=1),
    "root mean square": lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6),
    "group norm": nn.GroupNorm(2, 6),
    "instance norm": nn.InstanceNorm2d(6, affine=True),
    "norm by hand": lambda x: (
        (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
    ),
    "fill": lambda x: x.masked_fill(x < 0, 0.3),
    "constant channels": lambda x: torch.cat([x[:, :3], torch.ones_like(x[:, :3])], 1),
    "written into ones": _into_ones,
    "padded with 2": lambda x: F.pad(x, (1, 1, 1, 1), value=2.0)[..., 1:-1, 1:-1],
    "reflected": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")[..., 2:, 2:],
    "bilinear": lambda x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear"),
    "nearest": lambda x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2),
    "shuffled": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2), 2)[:, :6],
    "matrix": lambda x: torch.einsum("bchw,cd->bdhw", x, torch.ones(6, 6)),
    "log softmax": lambda x: F.log_softmax(x, 1),
    "transposed": nn.ConvTranspose2d(6, 6, 3, padding=1, groups=2),
    "filled by name": lambda x: x.masked_fill(x < 0, value=0.3),
    "log sigmoid": F.logsigmoid,
    "power": lambda x: x.abs() ** torch.tensor([1.5]),
    "power of 2": lambda x: 2**x,
    "maximum of a constant": lambda x: torch.max(x, torch.full_like(x, 0.5)),
    "spread": lambda x: x / (lambda low, high: high - low)(*torch.aminmax(x)),
    "own swish": lambda x: OwnSwish.apply(x),
    "filtered": _filtered,
    "gate of a gate": lambda x: torch.einsum(
        "bcq,bqhw->bchw", x.mean((2, 3))[:, :, None].expand(1, 6, 6).softmax(1), x.sigmoid()
    ),
    "two gates": lambda x: x.sigmoid() * x.flip(1).sigmoid(),
    "kernel made from the image": lambda x: F.conv2d(x, *_made_kernel(x), padding=1, groups=6),
    "kernel made from the image, bias": lambda x: F.conv2d(
        x, _made_kernel(x)[0], torch.ones(6), padding=1, groups=6
    ),
}


@pytest.fixture(scope="module")
def noise():
    return torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MIDDLES)
def test_the_ledger_closes(name, noise):
    network = Between(MIDDLES[name])
    plain = network.eval()(noise)
    for rule in RULES:
        _, balance, out = propagated(network, noise, Rules(rule, 0.01))
        assert torch.allclose(out, plain, atol=1e-5)
        assert balance.unknown == {}
        assert balance.gap < 1e-5, rule


SAME = {
    "own swish": (lambda x: OwnSwish.apply(x), F.silu),
    "root mean square": (
        lambda x: F.rms_norm(x, (12,), torch.arange(12.0), eps=1e-6),
        lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * torch.arange(12.0),
    ),
    "addmm": (
        lambda x: torch.addmm(torch.ones(6), _flat_values(x), torch.eye(6), alpha=2).T.reshape(x.shape),
        lambda x: x * 2 + 1,
    ),
    "addcmul": (lambda x: torch.addcmul(x, x.sigmoid(), x), lambda x: x + x * x.sigmoid()),
    "addcdiv": (lambda x: torch.addcdiv(x, x, x.abs() + 1), lambda x: x + x / (x.abs() + 1)),
    "lerp by a gate": (
        lambda x: torch.lerp(x, x.flip(1), x.sigmoid()),
        lambda x: x * (1 - x.sigmoid()) + x.flip(1) * x.sigmoid(),
    ),
    "sampled at places that it finds": (
        lambda x: F.grid_sample(x, _places(x), align_corners=False),
        lambda x: F.grid_sample(x, _places(x).detach(), align_corners=False),
    ),
    "cosine": (
        lambda x: F.cosine_similarity(x, x.flip(2), dim=1)[:, None].expand_as(x),
        lambda x: (F.normalize(x, dim=1) * F.normalize(x.flip(2), dim=1)).sum(1, keepdim=True).expand_as(x),
    ),
}
"""Pairs of functions that return the same."""


@pytest.mark.parametrize("name", SAME)
def test_what_is_written_in_another_way_has_the_same_relevance(name, noise):
    found = [propagated(Between(middle), noise, Rules("epsilon", 0.0)) for middle in SAME[name]]
    for relevance, balance, out in found:
        assert torch.allclose(out, found[1][2], atol=1e-5)
        assert balance.unknown == {}
        assert balance.gap < 1e-5
        assert torch.allclose(relevance, found[1][0], atol=1e-4 * float(relevance.abs().max()))


def test_what_mixes_values_is_no_curve_though_it_has_its_own_backward_pass(noise):
    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.square() - x.mean()

        @staticmethod
        def backward(ctx, g):
            return g

    own = torch.autograd.Function.__dict__["apply"]
    _, balance, _ = propagated(Between(lambda x: Mean.apply(x)), noise, Rules("epsilon"))
    assert list(balance.unknown) == ["Mean"]
    assert balance.gap < 1e-5
    assert torch.autograd.Function.__dict__["apply"] is own


class Windows(nn.Module):
    """A block of attention in shifted windows between a patch embedding and a pixel shuffle."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm, self.qkv = nn.Conv2d(1, 8, 2, 2), nn.LayerNorm(8), nn.Linear(8, 24)
        self.mlp = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head, self.table = nn.Conv2d(8, 8, 1), nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x):
        x = self.embed(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-2, -2), (1, 2))
        y = y.view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        q, k, v = self.qkv(y).reshape(-1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = ((q * 0.5) @ k.transpose(-2, -1) + self.table).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(-1, h // 4, w // 4, 4, 4, c)
        x = x + torch.roll(y.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c), (2, 2), (1, 2))
        x = x + self.mlp(x)
        return F.pixel_shuffle(self.head(x.permute(0, 3, 1, 2)), 2)


class Both(nn.Module):
    """A network of one logit, as its two labels."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logit = self.network(x)
        return torch.cat([-logit, logit], 1)


def _unit_batch_norms(network):
    """Batch normalisations that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -1, 2)
            nn.init.normal_(module.bias)
    return network


NETWORKS = {
    "U-Net": (lambda: _unit_batch_norms(UNet(features=(3, 6, 8))), (1, 1, 16, 16)),
    "U-Net in 3D, instance norm": (
        lambda: UNet(features=(3, 6), norm="instance", spatial_dims=3),
        (1, 1, 8, 8, 8),
    ),
    "ResNet U-Net": (lambda: _unit_batch_norms(ResNetUNet()), (1, 3, 32, 32)),
    "LinkNet3d": (LinkNet3d, (1, 1, 64, 32, 32)),
    "selfie": (lambda: Both(SelfieSegmenter()), (1, 3, 64, 64)),
    "windows": (Windows, (1, 1, 16, 16)),
    "transformer": (Transformer, (1, 1, 16, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_ledger_closes_on_whole_networks(name):
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = build()
    x = torch.randn(shape)
    plain = network.eval()(x)
    for rule in ("composite",) if name in ("LinkNet3d", "ResNet U-Net") else ("epsilon", "composite"):
        _, balance, out = propagated(network, x, Rules(rule, 0.01))
        assert torch.allclose(out, plain, atol=1e-4 * float(out.abs().max()))
        assert balance.unknown == {}
        assert balance.gap < 1e-5, rule


TRAINED = {
    "triangle": ("triangle_1.png", (112, 112)),
    "selfie": ("astronaut", (128, 128)),
    "brain-extraction": ("t1_head.nii.gz", (64, 64, 64)),
    "brain-tissue": ("mni_t1_tissue.nii.gz", (24, 24, 24)),
}
"""The sample networks, an image for each, and the size of its middle, which they are shown."""


@pytest.fixture(scope="module")
def trained():
    found = {}
    for name, (file, size) in TRAINED.items():
        model = sx.load_model(name)
        image = sx.Image(astronaut(), channel_axis=2) if file == "astronaut" else sx.read_image(IMAGES / file)
        whole = model.prepare(image).tensor
        starts = [(n - k) // 2 for n, k in zip(whole.shape[2:], size, strict=True)]
        found[name] = (
            Both(model.module) if name == "selfie" else model.module,
            whole[(..., *(slice(k, k + n) for k, n in zip(starts, size, strict=True)))].contiguous(),
        )
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", TRAINED)
def test_the_ledger_closes_on_trained_networks(name, rule, trained):
    network, x = trained[name]
    _, balance, _ = propagated(network, x, Rules(rule, 1e-3), positive=True)
    assert balance.start > 0
    assert balance.unknown == {}
    assert balance.gap < 1e-5


def test_without_an_epsilon_it_is_input_x_gradient(noise):
    network = _unit_batch_norms(UNet(features=(3, 6, 8)))
    x = F.interpolate(noise, size=(16, 16)).requires_grad_()
    relevance, balance, out = propagated(network, x.detach(), Rules("epsilon", 0.0))
    (gradient,) = torch.autograd.grad(network(x)[:, 1].sum(), x)
    expected = x.detach() * gradient
    assert torch.allclose(relevance, expected, atol=1e-5 * float(expected.abs().max()))
    assert balance.start == pytest.approx(float(out[:, 1].sum()), rel=1e-5)
    nearly, _, _ = propagated(network, x.detach(), Rules("epsilon", 1e-7))
    assert torch.allclose(nearly, expected, atol=1e-3 * float(expected.abs().max()))


def test_z_plus_is_that_of_plain_loops(noise):
    torch.manual_seed(2)
    convs = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)]
    network = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
    x = noise[..., :6, :7]
    found, _, _ = propagated(network, x, Rules("z-plus"))
    layers = [(c.weight.detach().double().numpy(), c.bias.detach().double().numpy()) for c in convs]
    by_hand = z_plus_by_hand(layers, x[0].double().numpy())
    np.testing.assert_allclose(found[0], by_hand, atol=1e-5 * np.abs(by_hand).max())


def test_alpha_beta_weighs_the_parts():
    layer = nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [3.0, 1.0, -2.0]])[..., None, None])
    found, balance, _ = propagated(layer, torch.ones(1, 3, 1, 1), Rules("alpha-beta", alpha=2.0))
    assert found.flatten().tolist() == pytest.approx([2 * 2 * 3 / 4, 2 * 2 / 4, -2.0])
    assert balance.input == pytest.approx(2.0)


def test_the_flat_layer_spreads_evenly_over_what_it_sees():
    layer = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 0, 0] = 1.0
    nn.init.ones_(layer.weight)
    padded = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(1, 2, 3, bias=False))
    nn.init.ones_(padded[1].weight)
    for network in (
        layer,
        padded,
    ):  # outputs at (0..1, 0..1) are 1 and see 4, 6, 6 and 9 pixels, padding is none
        found, balance, _ = propagated(network, x, Rules("composite"))
        assert float(found[0, 0, 0, 0]) == pytest.approx(1 / 4 + 1 / 6 + 1 / 6 + 1 / 9)
        assert float(found[0, 0, 2, 2]) == pytest.approx(1 / 9)
        assert balance.input == pytest.approx(4.0)
        assert balance.gap < 1e-6


def test_what_has_no_rule_is_named_with_what_passed(noise):
    def unknown(x):
        return torch.logsumexp(torch.stack([x, x]), 0)

    _, balance, _ = propagated(Between(unknown), noise, Rules("epsilon"))
    (name,) = balance.unknown
    reached, left = balance.unknown[name]
    assert name == "logsumexp"
    assert abs(reached - left) > 0.01 * abs(reached)
    assert balance.gap < 1e-5
    assert any(one.startswith("logsumexp has no rule") for one in balance.warnings())


def test_what_cannot_be_seen_is_a_gap(noise):
    class Shifted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.relu() + 1

        @staticmethod
        def backward(ctx, g):
            return g

    _, balance, _ = propagated(Between(Shifted.apply), noise, Rules("epsilon"))
    assert balance.gap > 1e-3
    assert any("not accounted for" in one for one in balance.warnings())


def test_biases_that_speak_against_the_score_are_warned_of():
    layer = nn.Conv2d(1, 2, 1)
    nn.init.ones_(layer.weight)
    nn.init.constant_(layer.bias, -0.9)
    _, balance, _ = propagated(layer, torch.ones(1, 1, 4, 4), Rules("epsilon", 0.0))
    assert balance.share(balance.biases) == pytest.approx(-9, rel=1e-4)
    assert any("adds up to 1000% of the score" in one and "with 900%" in one for one in balance.warnings())


def test_most_on_biases_is_warned_of():
    layer = nn.Conv2d(1, 2, 1)
    nn.init.ones_(layer.weight)
    nn.init.constant_(layer.bias, 9.0)
    for rule in ("epsilon", "z-plus"):
        _, balance, _ = propagated(layer, torch.ones(1, 1, 4, 4), Rules(rule, 0.0))
        assert balance.share(balance.biases) == pytest.approx(0.9)
        assert any("90% of the relevance rests on biases" in one for one in balance.warnings())

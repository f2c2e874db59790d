"""Sliding windows: where they lie, one output of all, and exact gradients in the memory of one window."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.models.windows.rule import Windows
from napari_segxai.models.windows.stitch import Weights, linear_score, stitch
from napari_segxai.models.windows.tiling import Tiling, importance, starts


class Small(nn.Module):
    """Instance norms and a skip connection, like a small nnU-Net: (N, 1, *grid) -> (N, 3, *grid)."""

    def __init__(self, dims: int = 3):
        super().__init__()
        torch.manual_seed(0)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        self.enter = nn.Sequential(conv(1, 6, 3, padding=1), norm(6, affine=True), nn.LeakyReLU(0.01))
        self.down = nn.Sequential(conv(6, 12, 3, 2, 1), norm(12, affine=True), nn.LeakyReLU(0.01))
        self.up = up(12, 6, 2, 2)
        self.leave = nn.Sequential(conv(12, 6, 3, padding=1), norm(6, affine=True), nn.LeakyReLU(0.01))
        self.head = conv(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enter(x)
        return self.head(self.leave(torch.cat([self.up(self.down(first)), first], 1)))


def whole(network: nn.Module, x: Tensor, tiling: Tiling, after=lambda y: y) -> Tensor:
    """The stitched output in one graph, written out."""
    padded, out = tiling.pad(x), 0
    for corner in tiling.corners:
        view = padded[(..., *tiling.place(corner))]
        axes = tiling.rule.mirror
        flips = [
            tuple(2 + a for a in c) for k in range(len(axes) + 1) for c in itertools.combinations(axes, k)
        ]
        mean = sum(after(network(view.flip(f)).flip(f)) for f in flips) / len(flips)
        one = torch.zeros(*x.shape[:1], mean.shape[1], *tiling.padded, dtype=x.dtype)
        one[(..., *tiling.place(corner))] = mean * tiling.importance.to(x.dtype)
        out = out + one
    return (out / tiling.total(tiling.everywhere).to(x.dtype))[(..., *tiling.inner)]


def soft_dice(logits: Tensor) -> Tensor:
    p, truth = logits.softmax(1)[:, 1], torch.zeros_like(logits[:, 1])
    truth[..., 5:12] = 1
    return 2 * (p * truth).sum() / (p.sum() + truth.sum())


def mean_in_a_box(logits: Tensor) -> Tensor:
    return logits[0, 1][(slice(4, 9),) * (logits.ndim - 2)].mean()


CASES = {
    "linear": (Windows(size=(12, 12, 12)), mean_in_a_box, None),
    "soft Dice": (Windows(size=(12, 12, 12)), soft_dice, None),
    "monai": (Windows(size=(12, 12, 12), rule="monai", overlap=0.25, weighting="constant"), soft_dice, None),
    "mirrored": (Windows(size=(12, 12, 12), mirror=(0, 2)), soft_dice, None),
    "sigmoid before averaging": (Windows(size=(12, 12, 12)), mean_in_a_box, torch.sigmoid),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_through_windows_is_that_of_the_stitched_graph(name):
    rule, score, after = CASES[name]
    network, after = Small().double().eval(), after or (lambda y: y)
    x = torch.rand(1, 1, 18, 12, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tiling = Tiling(rule, tuple(x.shape[2:]))
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = stitch(lambda w: after(network(w)), mine, tiling, batch=lambda gradients: 2)
    expected = whole(network, theirs, tiling, after)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    [found] = torch.autograd.grad(score(out), [mine])
    [wanted] = torch.autograd.grad(score(expected), [theirs])
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).norm() / wanted.norm()) < 1e-12


@pytest.mark.parametrize("mirror", [(), (0, 2)])
def test_a_score_that_is_linear_takes_one_pass_forward_and_one_back_of_every_window_that_counts(mirror):
    network, runs = Small().double().eval(), []
    network.register_forward_hook(lambda module, args, out: runs.append((len(args[0]), out.requires_grad)))
    x = torch.rand(2, 1, 18, 12, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tiling = Tiling(Windows(size=(12, 12, 12), mirror=mirror), tuple(x.shape[2:]))
    values = torch.zeros(3, 5, 5, 5, dtype=torch.float64)
    values[1], values[2] = 1 / 125, -1 / 125  # a contrast, averaged over a box
    leaf = x.clone().requires_grad_()
    score = linear_score(
        network, leaf, tiling, Weights(values, (4, 4, 4)), batch=lambda gradients: 3 if gradients else 1
    )
    [found] = torch.autograd.grad(score.sum(), [leaf])
    touched = sum(corner[2] < 9 and corner[0] < 9 for corner in tiling.corners)
    assert 0 < touched < len(tiling.corners)
    assert sum(n for n, _ in runs) == 2 * touched * tiling.rule.views
    assert all(graph for _, graph in runs)
    theirs, box = x.clone().requires_grad_(), (slice(4, 9),) * 3
    wanted = torch.stack(
        [(each[(1, *box)] - each[(2, *box)]).mean() for each in whole(network, theirs, tiling)]
    )
    torch.testing.assert_close(score, wanted, rtol=0, atol=1e-12)
    [expected] = torch.autograd.grad(wanted.sum(), [theirs])
    assert float((found - expected).norm() / expected.norm()) < 1e-12


def test_the_sum_of_weights_is_the_same_part_by_part():
    for rule in (
        Windows(size=(12, 8, 10)),
        Windows(size=(12, 8, 10), rule="monai", overlap=0.3),
        Windows(size=(12, 8, 10), weighting="constant"),
    ):
        tiling = Tiling(rule, (31, 8, 23))
        wanted = torch.zeros(tiling.padded)
        for corner in tiling.corners:
            wanted[tiling.place(corner)] += tiling.importance
        torch.testing.assert_close(tiling.total(tiling.everywhere), wanted)
        box = (slice(5, 20), slice(2, 3), slice(7, 23))
        torch.testing.assert_close(tiling.total(box), wanted[box])
        assert sum(slab[0].stop - slab[0].start for slab in tiling.slabs(box)) == 15


def saved(run) -> int:
    """The most bytes that the graph kept at one time."""
    held, most = {}, [0]

    class Kept:
        def __init__(self, tensor: Tensor):
            self.tensor = tensor
            held[id(self)] = tensor.nbytes
            most[0] = max(most[0], sum(held.values()))

        def __del__(self):
            held.pop(id(self), None)

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        run()
    return most[0]


def test_the_graph_of_eighteen_windows_takes_the_memory_of_one():
    network, rule = Small().eval().requires_grad_(False), Windows(size=(12, 12, 12))
    x = torch.rand(1, 1, 24, 24, 18)
    tiling = Tiling(rule, tuple(x.shape[2:]))
    assert len(tiling.corners) == 18
    leaf = x.clone().requires_grad_()
    one = saved(lambda: torch.autograd.grad(soft_dice(stitch(network, leaf, tiling)), [leaf]))
    every = saved(lambda: torch.autograd.grad(soft_dice(whole(network, leaf, tiling)), [leaf]))
    assert one < every / 10


def test_fewer_windows_are_run_at_once_where_memory_runs_out():
    network, sizes = Small().double().eval(), []

    def run(windows: Tensor) -> Tensor:
        sizes.append(len(windows))
        if len(windows) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return network(windows)

    x = torch.rand(1, 1, 12, 12, 30, dtype=torch.float64)
    tiling = Tiling(Windows(size=(12, 12, 12), mirror=(2,)), tuple(x.shape[2:]))
    found = []
    for each, batch in ((network, 1), (run, 4)):
        leaf = x.clone().requires_grad_()
        out = stitch(each, leaf, tiling, batch=lambda gradients, n=batch: n)
        found.append((out.detach(), *torch.autograd.grad(soft_dice(out), [leaf])))
    assert 4 in sizes
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-12)

    def never(windows: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        stitch(never, x, tiling)
    weights = Weights(torch.ones(3, 12, 12, 30, dtype=torch.float64), (0, 0, 0))
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    scores = [
        linear_score(each, leaf, tiling, weights, batch=lambda gradients, n=batch: n)
        for each, leaf, batch in zip((network, run), leaves, (1, 4), strict=True)
    ]
    torch.testing.assert_close(scores[1], scores[0], rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(one.sum(), [leaf])[0] for one, leaf in zip(scores, leaves, strict=True)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-10)


def test_windows_on_which_nothing_depends_are_not_run_again():
    network, runs = Small().eval(), []
    x = torch.rand(1, 1, 12, 12, 60)
    tiling = Tiling(Windows(size=(12, 12, 12)), tuple(x.shape[2:]))
    leaf = x.clone().requires_grad_()

    def run(windows):
        runs.append(len(windows))
        return network(windows)

    out = stitch(run, leaf, tiling)
    assert sum(runs) == len(tiling.corners) == 9
    torch.autograd.grad(out[0, 1, 6, 6, 3], [leaf])  # a place of the first window alone
    assert sum(runs) == 10


def test_windows_lie_where_nnunet_and_monai_put_them():
    # nnU-Net: evenly spread, rounded to even; a step of at most half a window.
    assert starts(Windows(size=(8,)), 20, 8) == [0, 4, 8, 12]
    assert starts(Windows(size=(8,)), 19, 8) == [0, 4, 7, 11]
    assert starts(Windows(size=(8,)), 8, 8) == [0]
    assert starts(Windows(size=(8,), overlap=0.2), 20, 8) == [0, 6, 12]
    # MONAI: equal steps, the last one moved to the end.
    monai = Windows(size=(8,), rule="monai", overlap=0.25)
    assert starts(monai, 20, 8) == [0, 6, 12]
    assert starts(monai, 21, 8) == [0, 6, 12, 13]
    assert starts(monai, 8, 8) == [0]


def test_weights_of_windows_are_those_of_nnunet_and_monai():
    ours = importance(Windows(size=(16, 8)))
    assert float(ours.max()) == 10
    assert ours.argmax() == 8 * 8 + 4  # at size // 2
    assert float(ours.min()) > 0
    monai = importance(Windows(size=(16, 8), rule="monai"))
    along = [math.exp(-((k - 7.5) ** 2) / (2 * 4.0)) for k in range(16)]
    across = [math.exp(-((k - 3.5) ** 2) / 2) for k in range(8)]
    expected = np.maximum(np.outer(along, across), 1e-3)
    np.testing.assert_allclose(monai, expected, rtol=1e-5)
    assert bool((importance(Windows(size=(4, 4), weighting="constant")) == 1).all())


def model_of(network: nn.Module, windows: dict | None, dims: int = 3) -> sx.SegmentationModel:
    labels = ["background", "one", "two"]
    card = {"name": "small", "labels": labels, "spatial_dims": dims}
    return sx.SegmentationModel(network, card if windows is None else {**card, "windows": windows})


def test_an_image_smaller_than_a_window_lies_in_its_middle():
    network = Small(2)
    model = model_of(network, {"size": [16, 16]}, 2)
    image = np.random.default_rng(0).random((11, 24)).astype(np.float32)
    around = np.zeros((16, 24), np.float32)
    around[2:13] = image
    np.testing.assert_array_equal(model.predict(image), model.predict(around)[2:13])


def test_a_network_whose_window_holds_the_image_is_explained_as_without_windows():
    network, image = Small(2), np.random.default_rng(1).random((32, 32)).astype(np.float32)
    plain, windowed = model_of(network, None, 2), model_of(network, {"size": [32, 32]}, 2)
    for method in ("vanilla-gradient", "integrated-gradients", "rise", "occlusion"):
        maps = [sx.explain(m, image, "one", method, device="cpu").map for m in (plain, windowed)]
        np.testing.assert_allclose(maps[1], maps[0], rtol=1e-3, atol=1e-5 * np.abs(maps[0]).max())


@pytest.mark.parametrize("padding", ["constant", "replicate", "reflect"])
@pytest.mark.parametrize("method", ["vanilla-gradient", "integrated-gradients"])
def test_the_gradient_of_an_image_smaller_than_a_window_counts_the_copies_around_it(method, padding):
    """Of values that are copied, the copies count as well; a constant is no part of the image."""
    network, image = Small(2), np.random.default_rng(0).random((11, 24)).astype(np.float32)
    rule = {"size": [16, 16], "padding": padding, "mirror": [0]}
    model = model_of(network, rule, 2)

    class Stitched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return whole(
                self.network, x, Tiling(Windows((16, 16), padding=padding, mirror=(0,)), tuple(x.shape[2:]))
            )

    region = np.zeros(image.shape, bool)
    region[:3, 4:9] = True
    options = {"steps": 4} if method == "integrated-gradients" else {"signed": True}
    found, wanted = (
        sx.explain(each, image, sx.Target("one", region=region), method, device="cpu", **options).map
        for each in (model, model_of(Stitched(), None, 2))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_windows_that_cannot_be_are_refused_before_anything_runs():
    image = np.random.default_rng(0).random((26, 4)).astype(np.float32)
    for windows, said in (
        (
            {"size": [16, 16], "padding": "reflect"},
            "too small for that in a window of 16 x 16; write `padding: replicate`",
        ),
        ({"size": [4, 4], "overlap": 0.99999999}, "windows, more than 1000000; write a smaller `overlap`"),
    ):
        model = model_of(Small(2), windows, 2)
        with pytest.raises(sx.UserError, match=said):
            model.predict(image)
        with pytest.raises(sx.UserError, match=said):
            sx.explain(model, image, "one", "vanilla-gradient", device="cpu")
        assert not model._tilings
    # As small as can be mirrored; and as many as there are cells, by MONAI's rule.
    assert model_of(Small(2), {"size": [10, 10], "padding": "reflect"}, 2).predict(image).shape == image.shape
    assert starts(Windows(size=(8,), rule="monai", overlap=0.99), 20, 8) == list(range(13))

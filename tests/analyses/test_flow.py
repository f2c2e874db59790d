"""Information flow: the same maps as `explain`, the numbers by hand, the causal check on planted paths, the files."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.networks import LinearHead, card
from torch import nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.flow import wording
from napari_segxai.analyses.flow.plan import METHODS
from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource
from napari_segxai.metrics.functional.layer_maps import Features, describe_map, shares

TRIANGLE = resource("sample_data/images/triangle_1.png")


@pytest.fixture(scope="module")
def plain():
    """The flow of the Triangle sample with nothing asked; tests only read it."""
    return triangle()


def triangle(**asked):
    return sx.information_flow(sx.load_model("triangle"), sx.read_image(TRIANGLE), **asked)


@pytest.mark.parametrize("method", METHODS)
def test_every_tile_is_what_explain_gives_for_that_layer(method):
    params = {"pixels": 3} if method == "grad-pam" else {}
    flow = triangle(method=method, layers=["encoder2", "bottleneck", "decoder1.convs.act1"], **params)
    assert [layer.name for layer in flow.layers] == ["encoder2", "bottleneck", "decoder1.convs.act1"]
    assert (flow.passes.forward, flow.passes.backward) == (1, params.get("pixels", 1))
    for layer in flow.layers:
        ex = sx.explain(flow.model, flow.image, "triangle", method, layer=layer.name, **params)
        found = flow.explanation("triangle", layer.name)
        np.testing.assert_allclose(found.map, ex.map, rtol=1e-4, atol=1e-5 * abs(ex.map).max())
        np.testing.assert_array_equal(found.prediction, ex.prediction)
        assert found.record.parameters == ex.record.parameters


def test_labels_share_one_forward_pass_and_do_not_mix():
    module = LinearHead(labels=4)
    model = sx.load_model(module, card=card(labels=["background", "a", "b", "c"]))
    image = sx.Image(np.random.default_rng(0).normal(size=(16, 20)).astype(np.float32))
    flow = sx.information_flow(model, image, method="seg-hires-grad-cam", layers="all", region="image")
    assert flow.labels == ("a", "b", "c")
    assert (flow.passes.forward, flow.passes.backward) == (1, 3)
    for label in flow.labels:
        alone = sx.explain(
            model, image, sx.Target(label, region="image"), "seg-hires-grad-cam", layer="features"
        )
        np.testing.assert_allclose(flow.tiles[label, "features"].map, alone.map, rtol=1e-4, atol=1e-7)


def test_the_numbers_of_a_map_by_hand():
    map = torch.tensor([[4.0, 1.0], [-2.0, 3.0]])
    predicted = torch.zeros(4, 4, dtype=torch.bool)
    predicted[:2, :2] = True  # all of the first cell
    predicted[2:, 2] = True  # half of the last
    activation = torch.tensor([[[[5.0, 0.0], [0.0, 1.0]]]])
    numbers = describe_map(
        map,
        torch.tensor(0.25),
        Features.of(activation),
        *(shares(m, map.shape) for m in (predicted, ~predicted)),
    ).tolist()
    high, low, positive, negative, gradient, active, inside, dice, dice_truth, ability = numbers
    assert (high, low, positive, negative, gradient, active) == (4, -2, 8, -2, 0.25, 1.5)
    assert inside == pytest.approx((4 + 0.5 * 3) / 8)
    # drawn at half the maximum: the cells with 4 and 3
    assert dice == pytest.approx(2 * 1.5 / (2 + 1.5))
    assert dice_truth == pytest.approx(2 * 0.5 / (2 + 2.5))
    # prototypes: inside (5 + 0.5) / 1.5 = 3.67, outside 0.5 / 2.5 = 0.2: only the first cell is nearer to the former
    assert ability == pytest.approx(2 * 1 / (1 + 1.5))


def test_emergence_is_the_layer_from_which_the_dice_stays_above_half():
    flow = triangle(method="seg-hires-grad-cam")
    for curve, start, margin in [
        ((0.1, 0.9, 0.2, 0.6, 0.8), 3, 0.1),  # the first crossing is undone
        ((0.1, 0.45, 0.7, 0.6, 0.8), 2, 0.05),
        ((0.6, 0.7, 0.8, 0.9, 0.9), 0, 0.1),
        ((0.6, 0.7, 0.8, 0.9, 0.3), None, 0.2),
    ]:
        layers = flow.layers[: len(curve)]
        short = dataclasses.replace(flow, layers=layers, tiles=dict(flow.tiles))
        for layer, value in zip(layers, curve, strict=True):
            tile = dataclasses.replace(flow.tiles["triangle", layer.name], dice=value)
            short.tiles["triangle", layer.name] = tile
        assert short.emergence("triangle") == (None if start is None else layers[start])
        assert short.emergence_margin("triangle") == pytest.approx(margin)
        assert f"{margin:.2f}" in wording.emergence(short, "triangle")


class TwoPaths(nn.Module):
    """An encoder and a bottleneck at half the size; the head takes the skip connection or what comes up."""

    def __init__(self, skip: float, up: float):
        super().__init__()
        self.encoder, self.deep, self.skip, self.up = nn.Identity(), nn.AvgPool2d(2), skip, up
        self.bottleneck, self.join, self.head = nn.Conv2d(1, 3, 1), nn.Identity(), nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            self.bottleneck.weight.fill_(1 / 3)
            self.bottleneck.bias.zero_()
            self.head.weight.copy_(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
            self.head.bias.copy_(torch.tensor([0.5, 0.0]))

    def forward(self, x):
        e = self.encoder(x)
        up = nn.functional.interpolate(self.bottleneck(self.deep(e)).sum(1, keepdim=True), scale_factor=2.0)
        return self.head(self.join(self.skip * e + self.up * up))


def square() -> sx.Image:
    array = np.zeros((16, 16), np.float32)
    array[4:10, 6:12] = 1
    return sx.Image(array)


@pytest.mark.parametrize(
    ("skip", "up", "lost_skip", "lost_bottleneck", "words"),
    [
        (1.0, 0.0, 1.0, 0.0, "comes across the skip connection of encoder"),
        (0.0, 1.0, 0.0, 1.0, "comes up through the bottleneck"),
        (0.4, 0.4, 1.0, 1.0, "needs both"),
        (1.0, 1.0, 0.0, 0.0, "no single path carries object"),
    ],
)
def test_the_causal_check_tells_which_path_carries_the_object(skip, up, lost_skip, lost_bottleneck, words):
    model = sx.load_model(TwoPaths(skip, up), card=card(grid={"multiple": 2}))
    flow = sx.information_flow(model, square(), layers=["encoder", "bottleneck", "join"])
    assert flow.route("object") == ""
    assert all(tile.lost is None for tile in flow.tiles.values())
    before = flow.passes.forward
    sx.causal_check(flow)
    assert flow.passes.forward - before <= 1 + 2 * 3
    tile = lambda name: flow.tiles["object", name]
    assert tile("join").lost == pytest.approx(1)
    assert tile("encoder").lost == pytest.approx(1)
    assert tile("encoder").lost_skip == pytest.approx(lost_skip)
    assert tile("bottleneck").lost == pytest.approx(lost_bottleneck)
    assert (tile("bottleneck").lost_skip, tile("join").lost_skip) == (None, None)
    assert words in flow.route("object")
    assert not any(m._forward_hooks or "forward" in m.__dict__ for m in model.module.modules())


def test_the_route_is_told_by_both_ablations_where_they_disagree():
    class Lifted(TwoPaths):
        """What comes up holds no shape, but without it nothing is bright enough."""

        def forward(self, x):
            e = self.encoder(x)
            up = self.bottleneck(self.deep(e)).sum(1, keepdim=True).mean((2, 3), keepdim=True)
            return self.head(self.join(0.45 * e + up.expand_as(e)))

    model = sx.load_model(Lifted(1.0, 1.0), card=card(grid={"multiple": 2}))
    asked = {"layers": ["encoder", "bottleneck", "join"], "causal": True}
    mean, zero, both = (
        sx.information_flow(model, square(), ablation=how, **asked) for how in ("mean", "zero", "both")
    )
    assert mean.tiles["object", "bottleneck"].lost == pytest.approx(0)
    assert zero.tiles["object", "bottleneck"].lost_zero == pytest.approx(1)
    assert mean.route("object").startswith(
        "object comes across the skip connection of encoder: mean ablation"
    )
    assert zero.route("object").startswith("object needs both")
    assert "zero ablation of the bottleneck loses 1.00" in zero.route("object")
    assert both.route("object") == f"{mean.route('object')} {zero.route('object')}"
    alike = sx.load_model(TwoPaths(1.0, 0.0), card=card(grid={"multiple": 2}))
    once = sx.information_flow(alike, square(), ablation="both", **asked).route("object")
    assert once.count("comes across") == 1
    assert "mean ablation" in once


class Filled(nn.Module):
    """Draws what is bright; an even map is drawn everywhere, and zeros nowhere."""

    def __init__(self):
        super().__init__()
        self.inner, self.deep, self.head = nn.Identity(), nn.Identity(), nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
            self.head.bias.copy_(torch.tensor([0.1, 0.0]))

    def forward(self, x):
        return self.head(self.deep(self.inner(x)))


def test_what_is_lost_has_a_control_and_zero_ablation_is_another():
    """A label that is drawn everywhere keeps the Dice of everything, and the loss looks small."""
    model = sx.load_model(Filled(), card=card())
    array = np.zeros((16, 16), np.float32)
    array[:, :12] = 1  # three quarters: everything has a Dice of 6/7
    flow = sx.information_flow(model, sx.Image(array), layers=["inner", "deep"], causal=True, ablation="both")
    tile = flow.tiles["object", "inner"]
    assert tile.lost == tile.lost_at_most == pytest.approx(1 / 7)
    assert tile.share_lost() == 1
    assert tile.lost_zero == 1
    assert tile.disagreements == ("lost",)
    said = " ".join(tile.advice)
    assert "as much as a label drawn everywhere loses (0.14)" in said
    assert "mean 0.14, zero 1.00" in said
    assert {"lost 0.14 of 0.14", "lost 1.00 (zero)"} <= set(wording.captions(tile))
    row = flow.rows[0]
    assert (row["lost_zero"], row["lost_at_most"], row["ablation"]) == (1, tile.lost_at_most, "mean and zero")
    zero = sx.information_flow(model, sx.Image(array), layers=["inner"], causal=True, ablation="zero")
    assert (zero.rows[0]["lost"], zero.rows[0]["lost_zero"], zero.rows[0]["ablation"]) == (None, 1, "zero")
    assert "zero ablation" in " ".join(wording.describe(zero.tiles["object", "inner"]))
    with pytest.raises(sx.UserError, match="choose mean, zero, both"):
        sx.causal_check(zero, "none")
    with pytest.raises(sx.UserError, match="choose mean, zero, both"):
        sx.information_flow(model, sx.Image(array), ablation="none")


def test_advice_is_given_where_it_applies():
    model = sx.load_model(TwoPaths(1.0, 0.0), card=card(grid={"multiple": 2}))
    ask = lambda **k: sx.information_flow(model, square(), layers=["encoder", "bottleneck", "join"], **k)
    said = lambda flow, name: " ".join(flow.tiles["object", name].advice)
    flow = ask(method="seg-hires-grad-cam")
    assert "restates the prediction (Dice 1.00)" in said(flow, "join")
    assert "the causal check tells" in said(flow, "bottleneck")
    assert "near zero compared with other network layers" not in said(flow, "join")
    assert "near zero compared with other network layers" in said(flow, "bottleneck")
    assert "does not decide" in said(ask(causal=True), "bottleneck")
    area = np.zeros((16, 16), bool)
    area[5:7, 7:9] = True
    assert "use seg-hires-grad-cam" in said(ask(region=area), "join")
    assert "use seg-hires-grad-cam" not in said(ask(region=area, method="seg-hires-grad-cam"), "join")
    with torch.no_grad():
        model.module.head.bias[0] = 100
    empty = ask()
    assert "no pixel is predicted as object" in said(empty, "join")
    assert not empty.tiles["object", "join"].map.any()
    assert any("nothing to explain" in w for w in empty.warnings)


def test_evidence_against_and_few_cells_are_told():
    flow = triangle(method="seg-grad-cam")
    tile = flow.tiles["triangle", "head"]
    assert -tile.negative > tile.positive
    assert any("speaks against" in sentence for sentence in tile.advice)
    small = sx.information_flow(
        sx.load_model(TwoPaths(1, 1), card=card(grid={"multiple": 2})),
        sx.Image(square().array[2:10, 4:12]),
        layers=["bottleneck"],
    )
    assert any("only 4 x 4 cells" in sentence for sentence in small.tiles["object", "bottleneck"].advice)


def test_transformers_are_to_be_read_with_care(plain):
    from helpers.odd_networks.transformers import Transformer

    model = sx.load_model(Transformer(), card=card(grid={"size": [32, 32]}))
    image = sx.Image(np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32))
    flow = sx.information_flow(model, image, layers=["tail"], region="image")
    assert any("transformer" in sentence for sentence in flow.tiles["object", "tail"].advice)
    assert not any("transformer" in sentence for tile in plain.tiles.values() for sentence in tile.advice)


def test_truth_is_compared_as_well(plain):
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    predicted = model.predict(image)
    flow = sx.information_flow(model, image, truth=predicted)
    assert flow.curve("triangle", "dice_truth") == pytest.approx(flow.curve("triangle", "dice"), abs=1e-6)
    assert np.isnan(plain.curve("triangle", "dice_truth")).all()
    with pytest.raises(sx.UserError, match=r"truth has shape \(3, 3\)"):
        sx.information_flow(model, image, truth=np.zeros((3, 3), int))
    with pytest.raises(sx.UserError, match="truth holds label 7"):
        sx.information_flow(model, image, truth=np.full(image.spatial_shape, 7))


def test_the_main_blocks_are_shown_by_default_and_any_module_on_request(plain):
    assert [layer.name for layer in plain.layers] == [
        *(f"encoder{k}" for k in (1, 2, 3, 4)),
        "bottleneck",
        *(f"decoder{k}" for k in (4, 3, 2, 1)),
        "head",
    ]
    assert len(triangle(layers="all").layers) == len(plain.model.example_layers)


def test_what_is_asked_wrongly_is_said_in_a_sentence():
    with pytest.raises(sx.UserError, match="an information flow of 'rise' cannot be made"):
        triangle(method="rise")
    with pytest.raises(sx.UserError, match=r"no network layer 'encodr1'; did you mean .*'encoder1'"):
        triangle(layers=["encodr1"])
    with pytest.raises(sx.UserError, match="has no label 'square'"):
        triangle(labels=["square"])
    volume = sx.Image(np.zeros((3, 64, 64), np.float32))
    with pytest.raises(sx.UserError, match=r"2D model .* choose the slice"):
        sx.information_flow(sx.load_model("triangle"), volume)
    traced = torch.jit.trace(LinearHead().eval(), torch.zeros(1, 1, 16, 16))
    with pytest.raises(sx.UserError, match="TorchScript"):
        sx.information_flow(sx.load_model(traced, card=card(grid={"size": [16, 16]})), square())


def test_a_stopped_flow_leaves_the_model_as_it_was():
    model = sx.load_model("triangle")
    steps = sx.information_flow_steps(model, sx.read_image(TRIANGLE), causal=True)
    for _ in range(4):
        next(steps)
    steps.close()
    modules = list(model.module.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__ for m in modules)


@pytest.mark.usefixtures("figures")
def test_cli_and_python_give_the_same_numbers(tmp_path):
    out = tmp_path / "flow"
    asked = [
        "flow",
        str(TRIANGLE),
        "--model",
        "triangle",
        "--out",
        str(out),
        "--causal",
        "--tile",
        "triangle:decoder2",
    ]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "emerge" in done.output
    with (out / "flow.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    flow = triangle(causal=True)
    for row, own in zip(rows, flow.rows, strict=True):
        assert row["layer"] == own["layer"]
        for name in ("maximum", "negative", "dice", "ability", "lost"):
            assert float(row[name]) == pytest.approx(own[name], rel=1e-4, abs=1e-9)
    assert (out / "flow.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "flow.svg").read_text()
    assert (
        json.loads((out / "triangle_decoder2/record.json").read_text())["parameters"]["layer"] == "decoder2"
    )
    again = CliRunner().invoke(app, asked)
    assert again.exit_code == 2
    wrong = CliRunner().invoke(app, [*asked, "--overwrite", "--tile", "triangle:nowhere"])
    assert wrong.exit_code == 2


@pytest.mark.parametrize("common", [False, True])
def test_the_figure_shows_every_tile(common, plain):
    from napari_segxai.analyses.flow.result import flow_figure

    flow = plain
    figure = flow_figure(flow, common=common)
    images = [axis.images[0] for sub in figure.subfigs for axis in sub.axes if axis.images]
    assert len(images) == len(flow.layers)
    ends = {round(image.get_clim()[1], 9) for image in images}
    assert (len(ends) == 1) is common
    for image, layer in zip(images, flow.layers, strict=True):
        np.testing.assert_array_equal(np.asarray(image.get_array()), flow.tiles["triangle", layer.name].map)


def test_tiles_of_a_volume_are_upright():
    from napari_segxai.analyses.flow import tiles

    model = sx.load_model("brain-tissue")
    image = sx.read_image(resource("sample_data/images/mni_t1.nii.gz"))
    flow = sx.information_flow(model, image, layers=["decoder1"])
    assert flow.labels == ("csf and other", "grey matter", "white matter")
    assert (flow.passes.forward, flow.passes.backward) == (1, 3)
    label = "white matter"
    shown = tiles.upright(flow.drawn[label], flow.placement, flow.image)
    [(expected, _, _)] = [
        layer
        for layer in flow.explanation(label, "decoder1").to_layers()
        if layer[1]["metadata"]["segxai_role"] == "prediction"
    ]
    assert shown.shape == expected.shape
    assert (shown == (expected == 3)).mean() > 0.999

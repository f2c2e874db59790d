"""X-ray: nodes of known skeletons, maps of single pixels written out, distances and variation in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import PATCH, LinearHead, card, planted_image, planted_model

import napari_segxai as sx
from napari_segxai.methods.gradient.x_ray import Node, nodes_of, spread, statistics, thinned, variation

# A plus of four arms, 5 cells each, in an image with the planted patch.
CENTER = (20, 12)


def plus_image(ndim: int, **kwargs) -> sx.Image:
    array = planted_image().array.copy()
    array[10:, :] = np.minimum(array[10:, :], 0.1)
    array[CENTER[0] - 5 : CENTER[0] + 6, CENTER[1]] = 1
    array[CENTER[0], CENTER[1] - 5 : CENTER[1] + 6] = 1
    if ndim == 3:
        volume = np.zeros((6, 32, 32), np.float32)
        volume[:, PATCH[0], PATCH[1]] = 1
        volume[3] = array
        array = volume
    return sx.Image(array, name="plus", **kwargs)


def ask(ndim: int = 2, image: sx.Image | None = None, **params):
    at = (3, *CENTER) if ndim == 3 else CENTER
    target = sx.Target("object", region=sx.Component(at))
    return sx.explain(planted_model(ndim), image or plus_image(ndim), target, "x-ray", **params)


def plane(ndim: int, *at: int) -> tuple[int, ...]:
    return (3, *at) if ndim == 3 else at


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_nodes_of_a_plus(ndim):
    ex = ask(ndim, nodes=20, steps=2)
    table = ex.curves["nodes"]
    found = {
        (kind, *at)
        for kind, *at in zip(table["kind"], *(table[f"cell_{k}"] for k in range(ndim)), strict=True)
    }
    y, x = CENTER
    ends = {("end", *plane(ndim, *at)) for at in ((y - 5, x), (y + 5, x), (y, x - 5), (y, x + 5))}
    assert ends <= found
    assert ("junction", *plane(ndim, y, x)) in found
    midpoints = [place for kind, *place in found if kind == "middle"]
    assert len(midpoints) == 4
    for place in midpoints:
        assert 2 <= np.abs(np.array(place) - plane(ndim, y, x)).sum() <= 4
    results = ex.record.results
    assert (results["ends"], results["junctions"], results["middles"]) == (4, 1, 4)
    assert ex.masks["nodes"].sum() == 9
    assert ex.masks["skeleton"][plane(ndim, y, x)]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("attribution", ["integrated gradients", "input x gradient"])
def test_the_planted_patch_and_the_node_itself_in_closed_form(ndim, attribution):
    """The logit at a node is 20 x + 12 mean of the patch - 26: linear, so both methods are exact."""
    image = plus_image(ndim, spacing=(2.0, 0.5, 3.0)[3 - ndim :], units="mm")
    ex = ask(ndim, image, nodes=1, kinds="junctions", attribution=attribution, steps=3)
    at = plane(ndim, *CENTER)
    expected = np.zeros(image.array.shape)
    expected[(..., *PATCH)] = 12 / np.prod(expected[(..., *PATCH)].shape)
    expected[at] += 20
    np.testing.assert_allclose(ex.map, expected, atol=1e-5)
    table = {name: column[0] for name, column in ex.curves["nodes"].items()}
    indices = np.moveaxis(np.indices(expected.shape), 0, -1)
    distance = np.sqrt((((indices - at) * image.spacing) ** 2).sum(-1))
    assert table["mean_distance_mm"] == pytest.approx((expected * distance).sum() / 32, rel=1e-5)
    assert table["sum"] == pytest.approx(32, rel=1e-5)
    assert table["score"] == pytest.approx(6, rel=1e-5)
    assert table["status"] == "drawn"
    if attribution == "integrated gradients":
        assert table["residual"] == pytest.approx(0, abs=1e-5)
    assert ex.record.passes == {
        "forward": {"integrated gradients": 2 + 2 + 3, "input x gradient": 2}[attribution],
        "backward": {"integrated gradients": 3, "input x gradient": 1}[attribution],
    }


def test_integrated_gradients_of_a_node_written_out():
    module = LinearHead()
    with torch.no_grad():
        module.head.bias.copy_(torch.tensor([0.0, 0.3]))
    model = sx.load_model(module, card=card())
    image = planted_image()
    target = sx.Target("object", region=sx.Point((8, 9)))
    ex = sx.explain(model, image, target, "x-ray", steps=7, rule="midpoint", node_maps=True)
    x = torch.from_numpy(image.array)[None, None]
    total = torch.zeros_like(x)
    for k in range(7):
        leaf = (x * (k + 0.5) / 7).requires_grad_(True)
        total += torch.autograd.grad(module(leaf)[0, 1, 8, 9], leaf)[0]
    expected = (x * total / 7)[0, 0]
    np.testing.assert_allclose(ex.map, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(ex.maps["node_1"], ex.map)
    with torch.no_grad():
        change = float(module(x)[0, 1, 8, 9] - module(torch.zeros_like(x))[0, 1, 8, 9])
    assert ex.curves["nodes"]["residual"][0] == pytest.approx(
        (float(expected.sum()) - change) / abs(change), abs=1e-3
    )


def test_the_map_is_the_sum_over_the_nodes_whatever_the_batch(monkeypatch):
    from napari_segxai.engine.primitives import perturb

    ex = ask(node_maps=True, nodes=5)
    np.testing.assert_allclose(ex.map, sum(ex.maps[f"node_{k}"] for k in range(1, 6)), rtol=1e-5)
    monkeypatch.setattr(perturb, "batch_size", lambda question, grid=None, gradients=False: 3)
    np.testing.assert_allclose(ask(nodes=5).map, ex.map, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ask(nodes=5).map, ask(nodes=5).map)


def test_a_drawn_region_shows_where_the_network_missed():
    image = plus_image(2)
    region = np.zeros((32, 32), bool)
    region[CENTER[0], 4:28] = True  # longer than what is drawn
    ex = sx.explain(planted_model(), image, sx.Target("object", region=region), "x-ray", nodes=10, steps=2)
    table = ex.curves["nodes"]
    status = dict(zip(table["cell_1"], table["status"], strict=True))
    assert status[4] == "missed"
    assert status[27] == "missed"
    assert "drawn" in status.values()
    assert ex.record.results["nodes_missed"] == list(status.values()).count("missed")


def test_skeletons_with_known_nodes():
    line = np.zeros((9, 20), bool)
    line[4, 3:14] = True
    assert nodes_of(line) == [Node("end", (4, 3)), Node("end", (4, 13)), Node("middle", (4, 8))]
    corner = np.zeros((12, 12), bool)
    corner[2, 2:9] = True
    corner[2:9, 8] = True
    kinds = [node.kind for node in nodes_of(thinned(corner))]
    assert kinds == ["end", "end", "middle"]  # a corner is not a junction
    ring = np.zeros((12, 12), bool)
    ring[2:9, 2:9] = True
    ring[3:8, 3:8] = False
    assert [node.kind for node in nodes_of(thinned(ring))] == ["middle"]
    point = np.zeros((3, 3, 3), bool)
    point[1, 1, 1] = True
    assert nodes_of(point) == [Node("end", (1, 1, 1))]
    tee = np.zeros((5, 15, 15), bool)
    tee[2, 3, 2:13] = True
    tee[2, 4:12, 7] = True
    found = nodes_of(tee)
    assert [node.kind for node in found].count("end") == 3
    (junction,) = [node.at for node in found if node.kind == "junction"]
    assert np.abs(np.array(junction) - (2, 3, 7)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (1, 7, 7), (4, 4, 4)])
def test_every_object_has_a_skeleton_and_a_node(shape):
    pixels = np.pad(np.ones(shape, bool), 2)
    skeleton = thinned(pixels)
    assert skeleton.any()
    assert not (skeleton & ~pixels).any()
    assert nodes_of(skeleton)


def test_variation_written_out_and_what_a_zero_map_leaves_undefined():
    rng = np.random.default_rng(0)
    for shape in ((4, 5), (3, 4, 5)):
        values = rng.normal(size=shape)
        places = list(np.ndindex(shape))
        expected = sum(
            abs(values[a] - values[b])
            for i, a in enumerate(places)
            for b in places[i + 1 :]
            if np.abs(np.subtract(a, b)).max() == 1
        )
        assert variation(values) == pytest.approx(expected)
    nothing = statistics(np.zeros((6, 6)), (2, 2), (1.0, 1.0), "mm")
    assert np.isnan(nothing["mean_distance_mm"])
    assert nothing["blobs"] == 0
    blobs = np.zeros((20, 20))
    blobs[2:5, 2:5], blobs[10:16, 10:16], blobs[18, 2] = 1, -1, 1  # the last is too small
    found = statistics(blobs, (3, 3), (2.0, 2.0), "mm")
    assert (found["blobs"], found["largest_blob_cells"]) == (2, 36)
    assert found["largest_blob_distance_mm"] == pytest.approx(2 * np.hypot(9.5, 9.5))


def test_many_nodes_are_spread_and_told():
    nodes = [Node("end", (k, 0)) for k in range(30)]
    assert [node.at[0] for node in spread(nodes, 3)] == [0, 14, 29]
    ex = ask(nodes=2, steps=2)
    assert "2 of 9 nodes" in ex.record.warnings[0]
    none = sx.explain(
        planted_model(),
        plus_image(2),
        sx.Target("object", region=((20, 9), (20, 12))),
        "x-ray",
        kinds="junctions",
        steps=2,
    )
    assert not none.map.any()
    assert "no junctions" in none.record.warnings[0]


def test_stopping_shows_the_nodes_that_are_done(tmp_path):
    job = sx.explain_steps(
        planted_model(), plus_image(2), sx.Target("object", region=sx.Component(CENTER)), "x-ray"
    )
    for step in job:
        if step.partial is not None and len(step.partial().curves["nodes"]["node"]) == 2:
            break
    partial = step.partial()
    job.close()
    assert partial.record.results["nodes"] == 2
    assert partial.map.any()
    partial.save(tmp_path / "out")
    assert (tmp_path / "out" / "curve_nodes.csv").read_text().startswith("node,kind,cell_0")

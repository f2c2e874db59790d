"""The decision tree of networks whose labels are alike in pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.concept.label_tree import Node, leaf_probabilities, ward_tree

LABELS = ["background", "cat", "dog", "car", "bus"]
ROWS = np.array(
    [[-1, 0, -1, 0], [3, 0.5, 0, 0], [3, -0.5, 0, 0], [0, 0, 3, 0.5], [0, 0, 3, -0.5]], np.float32
)


class Pairs(nn.Module):
    """Four channels of the image, and a head in which the labels are alike in pairs."""

    def __init__(self, rows: np.ndarray = ROWS, bias: tuple[float, ...] = (0, 0, 0, 0, 0)):
        super().__init__()
        self.body = nn.Conv2d(4, 4, 1, bias=False)
        self.head = nn.Conv2d(4, len(rows), 1)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(4)[:, :, None, None])
            self.head.weight.copy_(torch.from_numpy(rows)[:, :, None, None])
            self.head.bias.copy_(torch.tensor(bias))

    def forward(self, x):
        return self.head(self.body(x))


def model(network: nn.Module | None = None, labels=LABELS, **changes) -> sx.SegmentationModel:
    fields = card(labels=labels, channels=["1", "2", "3", "4"], **changes)
    return sx.load_model(network or Pairs(), card=fields)


@pytest.fixture
def image() -> sx.Image:
    """The five labels in blocks of two columns."""
    signs = [(-1, 0, -1, 0), (1, 1, 0, 0), (1, -1, 0, 0), (0, 0, 1, 1), (0, 0, 1, -1)]
    columns = np.repeat(np.array(signs, np.float32).T, 2, 1)
    noise = np.random.default_rng(0).normal(0, 0.1, (4, 8, 10)).astype(np.float32)
    return sx.Image(columns[:, None] + noise, channel_axis=0)


def sides(row) -> set[str]:
    return {row["toward"], row["against"]}


def test_two_pairs_make_that_tree(image):
    found = sx.explain(model(), image, "dog", "decision-tree", layer="body")
    nodes = found.tables["nodes"]
    assert len(nodes) == 4
    assert {"cat", "dog"} in map(sides, nodes)
    assert {"car", "bus"} in map(sides, nodes)
    heights = [row["height"] for row in nodes]
    assert heights == sorted(heights, reverse=True)
    last = max((row for row in nodes if row["on_path"]), key=lambda row: row["on_path"])
    assert (last["toward"], last["against"]) == ("dog", "cat")
    assert all(row["probability"] > 0.5 for row in nodes if row["on_path"])
    results = found.record.results
    assert results["agreement"] == 1
    assert results["decided"] == "dog"
    assert results["head"] == "head"
    assert results["path"].endswith(f"> dog ({last['probability']:.2f})")
    assert not found.record.warnings
    assert [row["dice"] for row in found.tables["labels"]] == [1] * 5


def test_the_map_of_a_decision_in_closed_form(image):
    found = sx.explain(model(), image, "dog", "decision-tree", layer="body")
    drawn = found.prediction == 2
    rows = dict(zip(LABELS, ROWS, strict=True))
    on_path = sorted((row for row in found.tables["nodes"] if row["on_path"]), key=lambda row: row["on_path"])
    assert set(found.maps) == {f"node_{row['on_path']}" for row in on_path}
    for row in on_path:
        toward, against = (np.mean([rows[n] for n in row[s].split(", ")], 0) for s in ("toward", "against"))
        wanted = np.tensordot(toward - against, image.array, 1) * drawn / drawn.sum()
        np.testing.assert_allclose(found.maps[f"node_{row['on_path']}"], wanted, atol=1e-6)
    np.testing.assert_allclose(found.map, sum(found.maps.values()), atol=1e-6)
    few = sx.explain(model(), image, "dog", "decision-tree", layer="body", decisions=1)
    np.testing.assert_allclose(few.map, found.maps["node_1"], atol=1e-6)
    assert any("decisions of the path have no map" in one for one in few.record.warnings)
    assert few.record.passes["backward"] == 1


def test_the_path_of_one_pixel(image):
    target = sx.Target("bus", region=sx.Point((3, 9)))
    found = sx.explain(model(), image, target, "decision-tree", layer="body")
    assert found.record.results["decided"] == "bus"
    assert np.argwhere(found.map).tolist() == [[3, 9]]
    elsewhere = sx.Target("bus", region=sx.Point((3, 3)))  # of the cat
    assert (
        sx.explain(model(), image, elsewhere, "decision-tree", layer="body").record.results["decided"]
        == "cat"
    )


def test_leaves_have_one_probability_in_all():
    rows = np.random.default_rng(0).normal(size=(7, 5))
    nodes = ward_tree(rows)
    assert sorted(nodes[0].leaves) == list(range(7))
    logits = 9 * torch.randn(2, 7, 4, 4, generator=torch.Generator().manual_seed(0))
    found = leaf_probabilities(logits, nodes)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 4))
    two = leaf_probabilities(logits[:, :2], [Node((0,), (1,), 1.0)])
    torch.testing.assert_close(two, logits[:, :2].softmax(1))


def test_a_tree_that_is_not_how_the_network_decides_is_said(image):
    network = Pairs(bias=(0, 0, -100, 0, 0))  # the mean of its side keeps the cat from being reached
    found = sx.explain(model(network), image, "cat", "decision-tree", layer="body")
    assert found.record.results["agreement"] < 0.9
    assert any("its path is not how the network decides" in one for one in found.record.warnings)
    by_label = {row["label"]: row for row in found.tables["labels"]}
    assert by_label["cat"]["dice"] < 0.1
    assert by_label["dog"]["dice"] is None  # drawn nowhere
    assert found.masks["tree_disagrees"][found.prediction == 1].all()


class Bare(nn.Module):
    """Multiplies with weights of its own, which belong to no layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(4, 7, 1)
        self.rows = nn.Parameter(torch.randn(5, 7, 1, 1, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return F.conv2d(self.body(x), self.rows)


def test_a_network_without_such_a_layer_is_answered(image):
    with pytest.raises(
        sx.UserError, match="it has no convolution with a row of weights for each of the 5 labels"
    ):
        sx.explain(model(Bare()), image, "dog", "decision-tree", layer="body")
    with pytest.raises(sx.UserError, match="body is no convolution with a row"):
        sx.explain(model(), image, "dog", "decision-tree", layer="body", head="body")


def test_two_labels_are_one_decision_and_few_are_said():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 1))
    one = sx.load_model(network, card=card(activation="sigmoid"))
    image = sx.Image(np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32))
    found = sx.explain(one, image, sx.Target("object", region="image"), "decision-tree", layer="0")
    assert len(found.tables["nodes"]) == 1
    assert any("a tree of 2 labels says little" in one for one in found.record.warnings)


def test_overlapping_labels_are_decided_by_themselves(image):
    overlapping = model(Pairs(ROWS[1:], bias=(0, 0, 0, 0)), activation="sigmoid", threshold=0.6)
    found = sx.explain(overlapping, image, "dog", "decision-tree", layer="body")
    (node,) = found.tables["nodes"]
    assert (node["toward"], node["against"]) == ("dog", "not dog")
    assert found.record.results["agreement"] == 1  # with what is drawn above the threshold
    drawn = found.drawn("dog")
    assert {row["label"]: row["pixels"] for row in found.tables["labels"]} == {
        "not dog": (~drawn).sum(),
        "dog": drawn.sum(),
    }
    assert any("every label of this network is decided by itself" in one for one in found.record.warnings)


def test_the_tables_come_back_from_the_folder(image, tmp_path):
    found = sx.explain(model(), image, "dog", "decision-tree", layer="body")
    found.save(tmp_path / "out")
    opened = sx.load_explanation(tmp_path / "out")
    assert opened.tables == found.tables
    assert opened.charts == found.charts
    header, *rows = (tmp_path / "out" / "table_nodes.csv").read_text().splitlines()
    assert header == "node,on_path,toward,against,height,probability"
    assert len(rows) == 4

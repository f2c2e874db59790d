"""Graphs of groups of units: a planted chain is found, and what lies apart from it is not in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.concepts import planted_folder
from helpers.networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.core.gallery import shows
from napari_segxai.methods.concept.concept_graph import agreement

ASKED = {"method": "concept-graph", "layers": "one,two", "nodes": 6, "images": 3, "draws": 2}


class Chain(nn.Module):
    """A (units 0 and 1 of `one`) -> B (unit 0 of `two`) -> the object; C (units 2, 3) -> D (unit 1), which nothing reads; one unit of each is silent."""

    def __init__(self, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        self.one, self.two, self.head = nn.Conv2d(2, 5, 1), nn.Conv2d(5, 3, 1), nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            for conv in (self.one, self.two, self.head):
                conv.weight.zero_()
                conv.bias.zero_()
            self.one.weight[:4, :, 0, 0] = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 3]])
            self.two.weight[:2, :, 0, 0] = torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 1, 1, 0]])
            self.head.weight[1, 0] = 10
            self.head.bias[1] = -18

    def forward(self, x):
        rows = torch.linspace(0, 1, x.shape[2], device=x.device).view(1, 1, -1, 1).expand_as(x)
        y = self.one(torch.cat([x, rows], 1))
        return self.head(self.two(y) if not self.skip else self.two(y) * 0 + 3 * x)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return planted_folder(tmp_path_factory.mktemp("planted"), 4)[0]


def loaded(network):
    return sx.load_model(network, card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))


@pytest.fixture(scope="module")
def found(images):
    return sx.survey(loaded(Chain()), images, **ASKED)


def test_the_chain_is_found_and_what_lies_apart_is_not_in_it(found):
    units = {node["node"]: node["units"] for node in found.tables["nodes"]}
    by_units = {f"{name.split()[0]}: {own}": name for name, own in units.items()}
    assert set(by_units) == {"one: 0 1", "one: 2 3", "two: 0", "two: 1"}  # silent units are in no group
    a, c, b, d = (by_units[name] for name in ("one: 0 1", "one: 2 3", "two: 0", "two: 1"))
    edges = {(row["start"], row["end"]) for row in found.table if row["edge"]}
    assert edges == {(a, b), (c, d), (a, "object"), (b, "object")}
    strength = {(row["start"], row["end"]): row["strength"] for row in found.table}
    assert strength[a, b] == pytest.approx(1, abs=0.01)
    assert strength[c, b] == pytest.approx(0, abs=0.01)
    assert strength[d, "object"] == 0
    assert f"{a} → {b} → object" in found.sentence
    assert {
        one["ability"] > one["ability_elsewhere"] for one in found.tables["nodes"] if one["node"] in (a, b)
    } == {True}


def test_a_graph_repeats_counts_its_passes_and_is_drawn(found, images):
    again = sx.survey(loaded(Chain()), images, **ASKED)
    assert (again.table, again.tables, again.charts) == (found.table, found.tables, found.charts)
    assert found.record["passes"]["forward"] == 4 + 3 * (1 + 2 + 4 * (1 + 2))
    assert (
        found.record["passes"]["forward"] <= sx.plan_survey(loaded(Chain()), images, **ASKED).passes.forward
    )
    chart, strengths = found.charts
    assert (strengths.kind, len(strengths.series[0].values)) == ("matrix", 4)
    lines = [one for one in chart.series if one.kind == "lines"]
    assert len(lines) == 4
    assert {name for one in chart.series for name in one.text} == {
        *(node["node"] for node in found.tables["nodes"]),
        "object",
    }
    assert {one.case for one in found.maps} <= {f"c{k}" for k in range(4)}
    assert len(found.maps) == 2 * 4
    assert set(found.galleries[0].rows()) == {node["node"] for node in found.tables["nodes"]}
    for row in found.table:  # a pair shows both of its nodes, and nothing else
        shown = [one for one in found.galleries[0].pictures if shows(one.of, one.case, row)]
        assert {one.row for one in shown} == {row["start"], row["end"]} - {"object"}
        assert {one.name for one in found.maps if one.shows(row)} == {row["start"], row["end"]} - {"object"}


def test_what_goes_past_a_layer_has_no_edge(images):
    got = sx.survey(loaded(Chain(skip=True)), images, **ASKED)
    past = [row for row in got.table if row["end"] == "object"]
    assert {row["strength"] for row in past} == {None}
    assert {row["edge"] for row in past} == {None}
    assert "what follows one, two is nearly the same without that layer" in " ".join(got.warnings)


def test_groups_by_kernels_need_convolutions(images):
    got = sx.survey(loaded(Chain()), images, preset="paper", **{**ASKED, "nodes": 4})
    units = {node["units"] for node in got.tables["nodes"] if node["layer"] == "one"}
    assert units == {"0 1", "2 3"}  # kernels that point in one direction
    network = nn.Sequential(Chain(), nn.Identity())
    with pytest.raises(sx.UserError, match="concept-graph: 1 is no convolution"):
        sx.survey(loaded(network), images, preset="paper", **{**ASKED, "layers": "0.one,1"})


def test_agreement_is_that_of_the_maps_and_none_of_flat_or_shuffled_ones():
    rng = np.random.default_rng(0)
    values = rng.normal(size=500)
    assert agreement(values, 3 * values - 7) == pytest.approx(1)
    assert agreement(values, rng.permutation(values)) < 0.05
    assert agreement(values, 1e-4 * values) == 0
    assert agreement(np.ones(500), values) is None
    assert (
        agreement(values[:20], rng.permutation(values[:20])) < 0.3
    )  # few cells look alike without the correction


def test_a_label_that_is_drawn_nowhere_has_words_and_no_number(images):
    network = Chain()
    with torch.no_grad():
        network.head.bias[1] = -1e4
    got = sx.survey(loaded(network), images, **ASKED)
    assert "object is drawn in no case that was looked at, so that nothing can be said of it" in " ".join(
        got.warnings
    )
    assert "object" not in {row["end"] for row in got.table}

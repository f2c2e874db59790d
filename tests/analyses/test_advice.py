"""From which numbers on a tile of an information flow says what: each rule just below and just at its bound."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_segxai.analyses.flow import advice
from napari_segxai.analyses.flow.tiles import Tile


def tile(**numbers) -> Tile:
    numbers = {"map": np.zeros((8, 8)), "positive": 1.0, "energy_inside": 0.5, **numbers}
    layer = SimpleNamespace(name="bottleneck", shape=(4, 8, 8), stage="bottleneck")
    return Tile("object", layer, **numbers)


def flow(*tiles: Tile, method: str = "seg-grad-cam", kind: str = "predicted") -> SimpleNamespace:
    named = {("object", str(k)): one for k, one in enumerate(tiles)}
    return SimpleNamespace(
        tiles=named,
        layers=[SimpleNamespace(name=name) for _, name in named],
        bottlenecks=["bottleneck"],
        drawn={"object": np.ones((8, 8), bool)},
        missed={},
        method=method,
        attention=False,
        facts={"target": {"region": {"kind": kind}}},
    )


def rules(one: Tile, of: SimpleNamespace | None = None) -> set[str]:
    found = (rule(of or flow(one), one) for rule in advice.RULES)
    return {remark.rule for remark in found if remark} - {"bottleneck"}


@pytest.mark.parametrize(
    ("rule", "below", "at"),
    [
        ("restates", {"dice": 0.799}, {"dice": 0.8}),
        ("within", {"energy_inside": 0.949}, {"energy_inside": 0.95}),
        ("coarse", {"map": np.zeros((6, 9))}, {"map": np.zeros((9, 5))}),
        ("ablations", {"lost": 0.5, "lost_zero": 0.69}, {"lost": 0.5, "lost_zero": 0.71}),
        ("ablations", {"lost_skip": 0.5, "lost_skip_zero": 0.69}, {"lost_skip": 0.5, "lost_skip_zero": 0.71}),
        ("undecided", {"lost": 0.11, "lost_at_most": 1.0}, {"lost": 0.09, "lost_at_most": 1.0}),
        ("undecided", {"lost": 0.06, "lost_at_most": 0.5}, {"lost": 0.06, "lost_at_most": 0.9}),
        ("everywhere", {"lost": 0.44, "lost_at_most": 0.5}, {"lost": 0.46, "lost_at_most": 0.5}),
        ("everywhere", {"lost": 0.91, "lost_at_most": 0.91}, {"lost": 0.89, "lost_at_most": 0.89}),
        (
            "cancelling",
            {"gradient_norm": 1.0, "activation_norm": 1.0, "maximum": 5e-4},
            {"gradient_norm": 1.0, "activation_norm": 1.0, "maximum": 3e-4},
        ),
    ],
)
def test_a_remark_is_made_from_its_bound_on(rule, below, at):
    assert rule not in rules(tile(**below))
    assert rule in rules(tile(**at))


def test_a_map_is_faint_beside_the_strongest_of_its_label():
    strongest = tile(positive=90.0, negative=-10.0)
    for positive, negative, faint in ((0.6, -0.39, True), (0.6, -0.4, False), (0.0, -0.5, True)):
        one = tile(positive=positive, negative=negative)
        assert ("faint" in rules(one, flow(strongest, one))) is faint
        assert "faint" not in rules(one)  # alone it is the strongest
    assert "faint" not in rules(tile(positive=0.0), flow(tile(positive=0.0), tile(positive=0.0)))


@pytest.mark.parametrize(
    ("method", "kind", "said"),
    [
        ("seg-grad-cam", "drawn", True),
        ("seg-grad-cam", "box", True),
        ("seg-grad-cam", "predicted", False),
        ("seg-grad-cam", "image", False),
        ("seg-hires-grad-cam", "drawn", False),
    ],
)
def test_pooling_forgets_a_region_that_was_chosen(method, kind, said):
    one = tile()
    assert ("pooled region" in rules(one, flow(one, method=method, kind=kind))) is said


def test_sentences_are_in_plain_word_order():
    one = tile(lost=0.46, lost_zero=0.9, lost_at_most=0.5, map=np.zeros((3, 4)))
    of = flow(one)
    advice.advise(of)
    assert list(one.advice) == [
        (
            "mean ablation of this layer loses 0.46 of the Dice, as much as a label drawn everywhere loses (0.50): "
            "everything that tells where the label is comes through here."
        ),
        "the Dice that is lost depends on the kind of ablation (mean 0.46, zero 0.90): do not rely on one of them.",
        "the map has only 3 x 4 cells: its places are coarse.",
    ]

"""Directions of concepts: what is planted is told and used, what says nothing is neither, what is told may be unused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.concept.parts.directions import without
from napari_segxai.methods.concept.parts.probes import Examples, learn

ASKED = {"method": "cav", "layers": "body", "removals": 3}


class TwoConcepts(nn.Module):
    """`body` sees brightness (unit 0), stripes (units 1 and 2 together) and the image again (unit 3); `head` draws what is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            weight = torch.zeros(4, 1, 3, 3)
            weight[0] = weight[3] = 1 / 9
            weight[1, 0, :, 1] = torch.tensor([-1.0, 2, -1])
            weight[2] = -weight[1]
            self.body[0].weight.copy_(weight)
            self.head.weight.zero_()
            self.head.weight[1, 0] = 20
            self.head.bias.copy_(torch.tensor([0.0, -9.0]))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def model():
    return sx.load_model(TwoConcepts(), card=card(intensity=[{"scale_shift": [1 / 255, 0.0]}]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twelve images of four squares: two are bright, two are striped, each kind once together; a mask that says nothing, and one of few cases."""
    out, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for name in ("bright", "striped", "square", "chance", "rare", "nowhere"):
        (out / "masks" / name).mkdir(parents=True)
    (out / "images").mkdir()
    for k in range(12):
        array = rng.uniform(0, 20, (32, 32))
        masks = {path.name: np.zeros((32, 32), np.uint8) for path in (out / "masks").iterdir()}
        chance = rng.permutation(4) < 2
        for n, place in enumerate(rng.permutation(4)):
            y, x = 16 * (place // 2) + rng.integers(1, 7), 16 * (place % 2) + rng.integers(1, 7)
            box = np.s_[y : y + 8, x : x + 8]
            bright, striped = n % 2 == 0, n < 2
            array[box] = (200 if bright else 80) + rng.normal(0, 4, (8, 8))
            if striped:
                array[box][::2] += 40
                array[box][1::2] -= 40
            told = {
                "bright": bright,
                "striped": striped,
                "square": True,
                "chance": chance[n],
                "rare": k < 3 and bright,
            }
            for name, value in told.items():
                masks[name][box] = value
        Picture.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(out / "images" / f"c{k}.png")
        for name, mask in masks.items():
            Picture.fromarray(mask).save(out / "masks" / name / f"c{k}.png")
    return out / "images", out / "masks"


@pytest.fixture(scope="module")
def found(model, folders):
    return sx.survey(model, folders[0], concepts=folders[1], within="square", **ASKED)


@pytest.fixture(scope="module")
def rows(found):
    return {row["concept"]: row for row in found.table}


def test_what_is_planted_is_told_and_what_counts_is_used(rows, found):
    bright, striped = rows["bright"], rows["striped"]
    for row in (bright, striped):
        assert row["accuracy"] > 0.95
        assert row["accuracy_p"] < 0.05
        assert row["readable"] is True
        assert row["accuracy_shuffled"] == pytest.approx(0.5, abs=0.1)
        assert (row["examples"], row["others"]) == (24, 24)
    assert (bright["tcav"], bright["used"]) == (1.0, True)
    assert bright["derivative"] > 0
    assert bright["dice_lost"] > 0.9 > bright["dice_lost_shuffled"]
    assert striped["used"] is False  # it is told, and the label does not hang on it
    assert "bright is told best at body" in found.sentence
    assert "and is used for object: without it object loses 1.00 of its Dice at body" in found.sentence


def test_what_says_nothing_is_not_told(rows, found):
    row = rows["chance"]
    assert row["readable"] is False
    assert row["used"] is False
    assert row["accuracy"] < 0.8
    assert "chance is told at no network layer better than shuffled concepts" in found.sentence


def test_of_a_concept_in_few_cases_or_none_there_is_no_number(rows, found):
    for name, count in (("rare", 3), ("nowhere", 0)):
        measured = {
            key: value
            for key, value in rows[name].items()
            if key not in ("concept", "layer", "stage", "label", "examples", "others")
        }
        assert set(measured.values()) == {None}
        assert (
            f"{name} and examples without it are in {count} cases of different subjects, and a direction needs 6"
            in " ".join(found.warnings)
        )
        assert name not in found.sentence


def test_without_a_region_the_same_shapes_elsewhere_are_the_examples(model, folders):
    got = sx.survey(model, folders[0], concepts=folders[1] / "bright", **{**ASKED, "removals": 0})
    (row,) = got.table
    assert row["readable"] is True
    assert row["dice_lost"] is None
    assert row["used"] is True
    again = sx.survey(model, folders[0], concepts=folders[1] / "bright", **{**ASKED, "removals": 0})
    assert (again.table, again.charts) == (got.table, got.charts)
    plan = sx.plan_survey(model, folders[0], concepts=folders[1] / "bright", **{**ASKED, "removals": 0})
    assert plan.passes.as_dict() == {"forward": 22, "backward": 12}
    assert got.record["passes"]["backward"] == 12
    assert (
        12 + 8 <= got.record["passes"]["forward"] <= 22
    )  # one pass over the folder, and those that are shown
    assert [(one.case, one.name) for one in got.maps] == [
        (name, "bright: direction of body") for name in ("c0", "c1")
    ]


def test_the_derivative_of_a_linear_head_is_its_weight_along_the_direction(model, folders):
    """y is the mean logit over M = {bright}: each of its cells has 1 / |M|, so that the concept's cells in M count."""
    from napari_segxai.methods.concept import cav

    kept = {}
    original = cav.learn

    def watched(examples, **asked):
        kept["probe"] = original(examples, **asked)
        return kept["probe"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cav, "learn", watched)
        (row,) = sx.survey(
            model, folders[0], concepts=folders[1] / "bright", **{**ASKED, "removals": 0}
        ).table
    probe = kept["probe"]
    drawn = []
    for k in range(12):
        image = sx.read_image(folders[0] / f"c{k}.png")
        object, bright = (
            model.predict(image) == 1,
            np.asarray(Picture.open(folders[1] / "bright" / f"c{k}.png")) > 0,
        )
        drawn.append((object & bright).sum() / object.sum())
    wanted = 20 * probe.steps[0, 0] * np.mean(drawn)
    assert row["derivative"] == pytest.approx(wanted, rel=1e-4)


def test_without_a_direction_no_cell_lies_further_along_it_than_the_others():
    random = torch.Generator().manual_seed(0)
    activation = torch.randn(1, 3, 4, 5, generator=random)
    vectors = np.array([[1.0, 0, 0], [0, 0.6, 0.8]])
    got = without(activation, vectors, np.array([0.2, -0.1]), np.array([9.0, 9.0]))
    assert got.shape == (2, 3, 4, 5)
    torch.testing.assert_close(got[0, 0], activation[0, 0].clamp(max=0.2))
    torch.testing.assert_close(got[0, 1:], activation[0, 1:])
    along = 0.6 * got[1, 1] + 0.8 * got[1, 2]
    before = 0.6 * activation[0, 1] + 0.8 * activation[0, 2]
    torch.testing.assert_close(along, before.clamp(max=-0.1))
    across = lambda values: 0.8 * values[1] - 0.6 * values[2]
    torch.testing.assert_close(across(got[1]), across(activation[0]))
    less = without(
        activation, vectors[:1], np.array([0.2]), np.array([0.3])
    )  # and none further than the concept's own length
    torch.testing.assert_close(
        less[0, 0],
        torch.where(activation[0, 0] > 0.5, activation[0, 0] - 0.3, activation[0, 0].clamp(max=0.2)),
    )


def test_shuffled_concepts_keep_how_many_there_are_in_each_case():
    rng = np.random.default_rng(0)
    names = np.array([f"c{k // 6}" for k in range(60)])
    shows = np.tile([True, True, False, False, False, False], 10)
    vectors = rng.normal(size=(60, 5))
    vectors[:, 2] += 6 * shows
    probe = learn(Examples(vectors, shows, names, names), shuffles=99, strength=1.0, seed=1, what="test")
    assert probe.accuracy == 1
    assert probe.p == pytest.approx(0.01)
    assert np.argmax(probe.directions[0]) == 2
    assert probe.accuracies[1:].mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(np.linalg.norm(probe.directions, axis=1), 1)
    vectors[:, 2] = 1.0  # a constant feature
    flat = learn(Examples(vectors, shows, names, names), shuffles=99, strength=1.0, seed=1, what="test")
    assert flat.directions[0, 2] == 0
    assert flat.p > 0.05


def test_fewer_cases_than_it_needs_and_wrong_words_are_said(model, folders, tmp_path):
    for k in range(5):
        (tmp_path / f"c{k}.png").write_bytes((folders[0] / f"c{k}.png").read_bytes())
    with pytest.raises(sx.UserError, match=r"cav needs 6 cases of different subjects, and .* holds 5"):
        sx.survey(model, tmp_path, concepts="predicted", **ASKED)
    with pytest.raises(sx.UserError, match="there is no concept 'sqare'; did you mean 'square'"):
        sx.survey(model, folders[0], concepts=folders[1], within="sqare", **ASKED)


def test_what_is_stopped_while_examples_are_collected_does_not_say_that_there_are_too_few(model, folders):
    steps = sx.survey_steps(model, folders[0], concepts=folders[1], within="square", **ASKED)
    partial = next(step.partial for k, step in enumerate(steps) if k == 3)
    found = partial()
    steps.close()
    assert found.sentence == "Examples were collected, and no direction has been learnt yet."
    assert not any("a direction needs" in one for one in found.warnings)


def test_every_label_can_be_a_concept_for_the_one_that_is_asked_about(folders):
    class Three(TwoConcepts):
        def forward(self, x):
            logits = super().forward(x)
            return torch.cat([logits, 30 * (x - 0.5)], 1)

    labels = ["background", "object", "light"]
    model = sx.load_model(Three(), card=card(labels=labels, intensity=[{"scale_shift": [1 / 255, 0.0]}]))
    got = sx.survey(model, folders[0], concepts="predicted", label="light", **{**ASKED, "removals": 0})
    assert {(row["concept"], row["label"]) for row in got.table} == {("object", "light"), ("light", "light")}
    passes = got.record["passes"]  # what is predicted takes no pass of its own
    assert passes["backward"] == 12
    assert passes["forward"] <= 24

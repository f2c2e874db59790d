"""Segmentation ability and the importance of channels give the same numbers wherever they are asked for."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from helpers.networks import card
from torch import nn

import napari_segxai as sx


class Product(nn.Module):
    """Draws the object where the first channel is bright; a bright second channel makes that stronger, the third counts for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 1)
        self.head = nn.Conv2d(5, 2, 1, bias=False)
        with torch.no_grad():
            weight = torch.tensor([[6.0, 1.0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]])
            self.body.weight.copy_(weight[:, :, None, None])
            self.body.bias.copy_(torch.tensor([-4.0, 0, 0, 0, 0]))
            self.head.weight.copy_(torch.tensor([[0.0] * 5, [1.0, 0, 0, 0, 0]])[:, :, None, None])

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def model():
    return sx.load_model(Product(), card=card(channels=["one", "two", "three"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five images of three channels in files of their own, and truths that are worse from case to case."""
    out = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    rows = []
    for k in range(5):
        names = [out / f"c{k}_{name}.tif" for name in ("a", "b", "c")]
        arrays = rng.uniform(0, 0.4, (3, 20, 20)).astype(np.float32)
        y, x = rng.integers(0, 12, 2)
        arrays[0, y : y + 8, x : x + 8] = 0.9
        truth = np.zeros((20, 20), np.uint8)
        truth[y : y + 8, x : x + 8 - k] = 1
        for name, array in zip(names, arrays, strict=True):
            sx.io.write_volume(name, array, sx.Image(array))
        sx.io.write_volume(out / f"c{k}_truth.png", truth, sx.Image(truth), kind="labels")
        rows.append(
            {f"image_{n}": path.name for n, path in enumerate(names)}
            | {"truth": f"c{k}_truth.png", "id": f"c{k}"}
        )
    with (out / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out / "cases.csv"


@pytest.fixture(scope="module")
def cohort(model, folder, tmp_path_factory):
    return sx.run_cohort(
        model,
        folder,
        methods=[],
        flow={"layers": "all"},
        channels={"repeats": 2},
        out=tmp_path_factory.mktemp("out"),
    )


def mean(rows, name, **about) -> float:
    return float(np.mean([row[name] for row in rows if about.items() <= row.items()]))


@pytest.mark.parametrize("how", ["permutation", "mean", "shapley", "between"])
def test_channels_over_a_folder_are_those_of_the_cohort(model, folder, cohort, how):
    found = sx.survey(model, folder, "channel-importance", how=how, repeats=2)
    assert [row["channel"] for row in found.table] == ["one", "two", "three"]
    for row in found.table:
        about = {"how": how, "channel": row["channel"]}
        for name in ("dice_drop", "iou_drop", "probability_drop", "truth_dice_drop"):
            assert row[name] == pytest.approx(mean(cohort.channels, name, **about), abs=1e-6), (name, about)
    assert found.table[0]["dice_drop"] > 0.3
    assert found.table[2]["dice_drop"] == 0
    assert found.sentence.startswith("object loses ")
    assert "of its Dice without one" in found.sentence
    study = {(row["how"], row["channel"], row["number"]): row for row in sx.study(cohort, "channels").rows}
    own = study[how, "one", "dice_drop"]
    assert own["mean"] == pytest.approx(found.table[0]["dice_drop"], abs=1e-6)
    planned = sx.plan_survey(model, folder, "channel-importance", how=how, repeats=2).passes
    assert planned.forward >= found.record["passes"]["forward"] > 0


@pytest.mark.parametrize("how", ["permutation", "mean", "shapley"])
def test_channels_of_one_image_are_those_of_its_own_command(model, folder, how):
    image = sx.find_cases(folder)[0].read()
    rows = sx.channel_importance(model, image, "object", how, repeats=2).rows
    found = sx.explain(model, image, "object", "channel-importance", how=how, repeats=2)
    for row in rows:
        assert found.record.results[f"dice_drop {row['channel']}"] == pytest.approx(
            row["dice_drop"], abs=1e-6
        )
    assert found.record.results["channel"] == "one"
    drawn = found.prediction == 1
    assert set(found.maps) == {"without two", "without three"}
    drops = {row["channel"]: row["probability_drop"] for row in rows}
    for name, map in {
        "one": found.map,
        **{key.removeprefix("without "): m for key, m in found.maps.items()},
    }.items():
        assert map[drawn].mean() == pytest.approx(drops[name], abs=1e-5)  # the map adds up to the number
    assert np.abs(found.maps["without three"]).max() < 1e-7  # the rounding of a sum


def test_channels_of_others_are_refused_for_one_image(model, folder):
    with pytest.raises(sx.UserError, match="between takes channels of other images; ask about a folder"):
        sx.explain(model, sx.find_cases(folder)[0].read(), "object", "channel-importance", how="between")


def test_ability_over_a_folder_is_that_of_the_flow_and_of_the_cohort(model, folder, cohort):
    found = sx.survey(model, folder, "segmentation-ability", layers="all")
    rows = {(row["what"], row["name"]): row for row in found.table}
    for layer in ("body", "head"):
        assert rows["network layer", layer]["ability"] == pytest.approx(
            mean(cohort.flow, "ability", layer=layer), abs=1e-6
        )
    for channel in ("one", "two", "three"):
        about = {"how": "ability", "channel": channel}
        row = rows["channel", channel]
        assert row["ability"] == pytest.approx(mean(cohort.channels, "ability", **about), abs=1e-6)
        assert row["truth_ability"] == pytest.approx(
            mean(cohort.channels, "truth_ability", **about), abs=1e-6
        )
    assert rows["channel", "one"]["ability"] == pytest.approx(1)
    assert rows["channel", "three"]["ability"] < 0.5
    assert rows["network layer", "body"]["control"] < 0.6 < rows["network layer", "body"]["ability"]
    assert rows["network layer", "body"]["unit"] in (0, 3)  # the two that see the first channel
    assert rows["network layer", "body"]["unit_ability"] == pytest.approx(1, abs=0.02)
    study = {row["name"]: row for row in sx.study(cohort, "ability").rows}
    assert study["one"]["mean"] == pytest.approx(rows["channel", "one"]["ability"], abs=1e-6)


def test_ability_of_one_image_is_that_of_the_flow(model, folder):
    image = sx.find_cases(folder)[0].read()
    flow = sx.information_flow(model, image, labels=["object"], layers="all")
    found = sx.explain(model, image, "object", "segmentation-ability", layers="all")
    for layer in ("body", "head"):
        told = found.record.results[f"ability {layer}"]
        assert told == pytest.approx(flow.tiles["object", layer].ability, abs=1e-6)
    best = found.record.results["layer"]
    drawn = found.prediction == 1
    dice = 2 * ((found.map > 0) & drawn).sum() / ((found.map > 0).sum() + drawn.sum())
    assert dice == pytest.approx(found.record.results[f"ability {best}"], abs=1e-6)
    with pytest.raises(sx.UserError, match="no network layer 'bdoy'; did you mean 'body'"):
        sx.explain(model, image, "object", "segmentation-ability", layers="bdoy")


def test_the_object_of_another_case_is_the_control_on_images_of_other_sizes_too(model, tmp_path):
    rng = np.random.default_rng(0)
    for k, (rows, columns) in enumerate(((20, 24), (24, 18), (18, 20))):
        array = rng.uniform(0, 0.4, (3, rows, columns)).astype(np.float32)
        y, x = ((1, 1), (12, 8), (1, 1))[k]
        array[0, y : y + 8, x : x + 8] = 0.9
        sx.io.write_volume(tmp_path / f"c{k}.nii.gz", array, sx.Image(array, channel_axis=0))
    found = sx.survey(model, tmp_path, "segmentation-ability", layers="body")
    row = next(row for row in found.table if row["name"] == "body")
    assert row["ability"] > 0.95
    assert row["control"] < 0.6
    assert "network layer body" in found.sentence or "channel one" in found.sentence
    assert "for objects of other cases" in found.sentence

"""Studies of flows, channels, abilities, context and of who leans on whom: with planted causes, and on tables whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import card
from PIL import Image as Picture
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.analyses.cohort.outlook import outlook
from napari_segxai.analyses.cohort.plan import CohortPlan

A, B = (slice(2, 6), slice(2, 6)), (slice(8, 14), slice(8, 14))


class Leaning(nn.Module):
    """Draws b where its place is bright, and a at another place if that of b is bright on average: a reads b alone."""

    def __init__(self):
        super().__init__()
        for name, place in (("a", A), ("b", B)):
            mask = torch.zeros(1, 1, 16, 16)
            mask[(0, 0, *place)] = 1
            self.register_buffer(name, mask)
        self.look = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        seen = self.look(x)
        bright = (seen * self.b).sum((2, 3), keepdim=True) / self.b.sum()
        a = 20 * bright * self.a - 10
        b = 20 * seen * self.b - 10
        return torch.cat([torch.zeros_like(a), a, b], 1)


@pytest.fixture(scope="module")
def leaning(tmp_path_factory) -> sx.Cohort:
    """Twelve cases of a network whose label a reads only where b lies."""
    out, random = tmp_path_factory.mktemp("leaning"), np.random.default_rng(0)
    (out / "data").mkdir()
    for k in range(12):
        values = random.integers(0, 100, (16, 16))
        values[B] = 255 - random.integers(0, 60, (6, 6))
        Picture.fromarray(values.astype(np.uint8)).save(out / "data" / f"c{k}.png")
    model = sx.load_model(
        Leaning(),
        card=card(labels=["background", "a", "b"], grid={"size": [16, 16]}, intensity=[{"divide": 255}]),
    )
    return sx.run_cohort(
        model,
        out / "data",
        methods=["input-x-gradient"],
        out=out / "results",
        flow={"method": "seg-hires-grad-cam", "layers": "all"},
        keep="tables",
        channels={"how": ["mean", "ability"]},
    )


def test_a_label_that_reads_only_where_another_lies_leans_on_it(leaning):
    assert not leaning.failed
    found = sx.study(leaning, "leans-on")
    shares = {(row["label"], row["on"]): row["mean"] for row in found.rows}
    assert shares["a", "b"] == pytest.approx(1)
    assert shares["a", "a"] == shares["a", "background"] == 0
    assert shares["b", "b"] == pytest.approx(1)
    assert found.sentence.startswith("a leans on b more than on itself: 100%")
    (chart,) = found.charts
    assert chart.kind == "matrix"
    np.testing.assert_allclose(chart.series[0].values, [[0, 0, 1], [0, 0, 1]], atol=1e-6)
    with pytest.raises(sx.UserError, match="has no map 'rise'"):
        sx.study(leaning, "leans-on", map="rise")


def test_its_evidence_lies_outside_it(leaning):
    found = sx.study(leaning, "context")
    mean = {(row["label"], row["number"]): row["mean"] for row in found.rows}
    assert mean["a", "evidence_outside"] == pytest.approx(1)
    assert mean["b", "evidence_outside"] == 0
    assert 4 < mean["a", "evidence_distance_pixel"] < mean["a", "evidence_reach_pixel"] <= np.hypot(8, 8)
    assert (
        "100% (95 % interval 100% to 100%) of the evidence for a lies outside it, half of it within"
        in found.sentence
    )


def test_all_studies_of_a_real_cohort_hold_what_they_say(leaning):
    for name in ("flow-average", "channels", "ability", "context", "leans-on"):
        found = sx.study(leaning, name)
        assert found.rows
        assert found.charts
        assert found.sentence.endswith(".")
        assert found.caveats
        assert all(
            low is None or low <= y <= high
            for chart in found.charts
            for one in chart.series
            for y, low, high in zip(one.y, one.low, one.high, strict=False)
            if y is not None
        )
        assert sx.study(leaning, name).rows == found.rows


def test_average_maps_of_cases_on_one_grid(leaning, tmp_path):
    """Both labels read the place of b alone, in all cases: there the mean of the maps is highest, and 0 elsewhere."""
    for k in range(3):
        values = np.full((16, 16), 40 + 10 * k, np.uint8)
        values[B] = 250 - 20 * k
        Picture.fromarray(values).save(tmp_path / f"c{k}.png")
    Picture.fromarray(np.full((20, 16), 200, np.uint8)).save(tmp_path / "other.png")
    asked = {"methods": ["input-x-gradient"], "flow": {"method": "seg-hires-grad-cam", "layers": "all"}}
    model = sx.load_model(
        Leaning(), card=card(labels=["background", "a", "b"], grid={"size": [16, 16]}, intensity=[{"divide": 255}])
    )  # fmt: skip
    found = sx.run_cohort(model, tmp_path, out=tmp_path / "out", **asked)
    assert found.information_flow("c1").labels == ("a", "b")
    said = sx.study(found, "flow-average")
    (gallery,) = said.galleries
    rows = gallery.rows()
    assert list(rows) == ["prediction", "look"]
    drawn, look = ({one.text.split(":")[0].split(",")[0]: one for one in rows[name]} for name in rows)
    place = np.zeros((16, 16))
    place[B] = 1
    np.testing.assert_array_equal(drawn["b"].values, place)
    nothing = look["b"].values[0, 0]
    assert ((look["b"].values != nothing).any(-1) == (place > 0)).all()
    assert ((look["a"].values != nothing).any(-1) == (place > 0)).all()
    assert look["b"].text.startswith("b: 1.00")
    assert any("1 of 4 cases lie on another grid" in line for line in said.caveats)
    assert not any("blurred" in line for line in said.caveats)
    assert said.figure(len(said.charts)).get_figwidth() > 0
    assert sx.study(leaning, "flow-average").galleries == ()
    assert any("kept tables alone" in line for line in sx.study(leaning, "flow-average").caveats)
    with pytest.raises(sx.UserError, match="has no case 'c9'"):
        found.information_flow("c9")
    with pytest.raises(sx.UserError, match="kept tables alone"):
        leaning.information_flow("c1")


def test_objects_that_lie_apart_have_no_average_worth_the_name(tmp_path):
    for k in range(3):
        values = np.zeros((16, 16), np.uint8)
        values[5 * k : 5 * k + 4, 2:6] = 255
        Picture.fromarray(values).save(tmp_path / f"c{k}.png")
    model = sx.load_model(Bright(), card=card(intensity=[{"divide": 255}]))
    found = sx.run_cohort(
        model, tmp_path, methods=["input-x-gradient"], out=tmp_path / "out", flow={"layers": "all"}
    )
    said = sx.study(found, "flow-average")
    assert len(said.galleries) == 1
    assert any("0% of object is shared by two cases" in line for line in said.caveats)


class Bright(nn.Module):
    """Draws what is bright."""

    def __init__(self):
        super().__init__()
        self.look = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        seen = self.look(x)
        return torch.cat([1 - 2 * seen, 2 * seen - 1], 1)


def cohort(**tables: list[dict]) -> sx.Cohort:
    about = {"group": "", "label": "organ", "error": ""}
    filled = {
        name: [{**about, "subject": row["case"], **row} for row in rows] for name, rows in tables.items()
    }
    names = dict.fromkeys(row["case"] for rows in filled.values() for row in rows)
    held = {"objects": [], "maps": [], **filled}
    return sx.Cohort(Path("results"), {"cases": [{"id": name} for name in names]}, missing=0, **held)


def test_where_labels_emerge():
    """Of ten cases nine emerge at the third layer (one before it has a Dice of .6 but falls again), one nowhere."""
    dices = [[0.6, 0.2, 0.7, 0.9]] * 9 + [[0.6, 0.7, 0.7, 0.1]]
    flow = [
        {
            "case": f"c{k}",
            "layer": f"l{j}",
            "stage": "decoder",
            "order": j,
            "maximum": 1.0,
            "dice": dice,
            "ability": None,
        }
        for k, row in enumerate(dices)
        for j, dice in reversed(list(enumerate(row)))
    ]
    found = sx.study(cohort(flow=flow), "flow-average")
    emerged = {row["layer"]: row["mean"] for row in found.tables["emergence"]}
    assert emerged == {"l2": pytest.approx(0.9), "nowhere": pytest.approx(0.1)}
    first = next(row for row in found.rows if row["layer"] == "l1")
    assert first["mean"] == pytest.approx(np.mean([0.2] * 9 + [0.7]))
    assert first["low"] < first["mean"] < first["high"]
    assert found.sentence.startswith("organ emerges at l2 in 90%")
    assert any("--causal" in caveat for caveat in found.caveats)
    assert found.charts[0].series[0].x == ("l0", "l1", "l2", "l3")
    with pytest.raises(sx.UserError, match="holds no information flow of a label that is drawn; run"):
        sx.study(cohort(maps=[{"case": "a", "map": "m"}]), "flow-average")


def test_which_channel_matters():
    random = np.random.default_rng(0)
    rows = []
    for k in range(20):
        for how, t1, t2 in (("shapley", 0.7, 0.3), ("mean", 0.1, 0.2)):
            for channel, value in (("t1", t1), ("t2", t2)):
                rows.append(
                    {
                        "case": f"c{k}",
                        "how": how,
                        "channel": channel,
                        "dice_drop": value + random.normal(0, 0.02),
                    }
                )
    found = sx.study(cohort(channels=rows), "channels")
    assert found.sentence.startswith("t1 gives organ 0.70 (95 % interval 0.6")
    assert "more than of t2 (0.30)" in found.sentence
    assert any(
        "do not agree about which channel matters most to organ: t1 (Shapley values), t2" in c
        for c in found.caveats
    )
    even = [{**row, "dice_drop": row["dice_drop"] * 0 + random.normal(0.5, 0.1)} for row in rows]
    assert "not clearly more than" in sx.study(cohort(channels=even), "channels").sentence
    few = [row for row in rows if row["case"] in ("c0", "c1", "c2")]
    assert "beside t2 (0." in (said := sx.study(cohort(channels=few), "channels").sentence)
    assert "of too few subjects to say that this is more" in said
    with pytest.raises(sx.UserError, match="holds no importance of channels"):
        sx.study(cohort(maps=[{"case": "a", "map": "m"}]), "channels")


def test_ability_that_tells_quality():
    """The second layer's ability is the quality, the first one's is noise; confidence stands beside."""
    random = np.random.default_rng(0)
    quality = random.uniform(0.3, 1, 30)
    objects = [
        {"case": f"c{k}", "size_px": 5, "confidence": float(random.uniform()), "truth_dice": float(q)}
        for k, q in enumerate(quality)
    ]
    flow = [
        {
            "case": f"c{k}",
            "layer": f"l{j}",
            "stage": "decoder",
            "order": j,
            "maximum": 1.0,
            "dice": 1.0,
            "ability": float(value),
        }
        for k, q in enumerate(quality)
        for j, value in enumerate((random.uniform(0, 0.1), q))
    ]
    found = sx.study(cohort(objects=objects, flow=flow), "ability")
    own = {row["name"]: row for row in found.rows}
    assert own["l1"]["rank_correlation"] == pytest.approx(1)
    assert own["l1"]["mean"] == pytest.approx(quality.mean())
    assert abs(own["l0"]["rank_correlation"]) < 0.5
    assert own["size alone"]["rank_correlation"] is None
    assert own["mean confidence alone"]["correlation_low"] < 0.5
    assert "the mean of all network layers goes along with the Dice with the truth" in found.sentence
    assert "of mean confidence alone" in found.sentence


def test_what_failed_or_is_not_drawn_does_not_count(leaning):
    """A case that failed, and one in which nothing is drawn, change no number, and are told."""
    for name, table in (("flow-average", "flow"), ("channels", "channels"), ("ability", "flow"), ("context", "maps"), ("leans-on", "maps")):  # fmt: skip
        bad = {"case": "bad", "group": "", "subject": "bad", "error": "no picture"}
        numbers = {key: None for key, value in getattr(leaning, table)[0].items() if isinstance(value, float)}
        blank = {**getattr(leaning, table)[0], **numbers, "case": "blank", "subject": "blank", "maximum": 0.0}
        objects = [
            *leaning.objects,
            bad,
            {**leaning.objects[0], "case": "blank", "subject": "blank", "size_px": 0},
        ]
        more = replace(leaning, objects=objects, **{table: [*getattr(leaning, table), bad, blank]})
        alike = lambda rows: [{k: v for k, v in row.items() if k not in ("low", "high")} for row in rows]
        found = sx.study(more, name)
        assert alike(found.rows) == alike(sx.study(leaning, name).rows), name
        assert any("1 of 12 cases failed" in caveat for caveat in found.caveats), name
    only = [{**row, "error": "gone"} for row in leaning.flow]
    with pytest.raises(sx.UserError, match="holds no information flow of a label that is drawn"):
        sx.study(replace(leaning, flow=only), "flow-average")
    undrawn = [{**row, "size_px": 0} for row in leaning.objects]
    with pytest.raises(sx.UserError, match="holds no segmentation ability of a label that is drawn"):
        sx.study(replace(leaning, objects=undrawn), "ability")


def test_what_failed_elsewhere_is_not_said_to_be_missing_here(leaning):
    """Truths that cannot be used are no failure of flows: those of all cases are averaged."""
    objects = [{**row, "error": "the truth holds label 4"} for row in leaning.objects]
    half = replace(leaning, objects=objects)
    said = sx.study(half, "flow-average").caveats
    assert "In 12 of 12 cases something else failed, which counts for nothing here." in said
    assert not any("do not count" in line and "12 of 12" in line for line in said)
    assert "12 of 12 cases failed and do not count." in sx.study(half, "averages").caveats


def test_the_estimate_counts_causal_checks_and_channels(tmp_path):
    """Of each of two cases: 1 pass for the objects, 1 for the map, 1 and 3 for the flow with its causal check, 2 for the channel."""
    for k in range(2):
        Picture.fromarray(np.full((16, 16), 90 * k, np.uint8)).save(tmp_path / f"c{k}.png")
    model = sx.load_model(Bright(), card=card(intensity=[{"divide": 255}]))
    asked = {"flow": {"layers": "all", "causal": True}, "channels": {"how": ["mean"]}}
    plan = CohortPlan.make(model, sx.find_cases(tmp_path), None, ["vanilla-gradient"], **asked)
    assert plan.flow["layers"] == ["look"]
    seen = outlook(plan, tmp_path / "out")
    assert (seen.passes.forward, seen.passes.backward) == (2 * (1 + 1 + 1 + 3 + 2), 2 * (1 + 1))

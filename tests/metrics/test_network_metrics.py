"""Metrics that run the network: closed forms, loops written out, and planted causes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers.networks import OBJECT, PATCH, card, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, finish
from napari_segxai.engine.finding import EmptyRegion
from napari_segxai.engine.primitives import perturb
from napari_segxai.engine.question import Question
from napari_segxai.metrics import table as evaluate
from napari_segxai.metrics.evaluation import Evaluation, Options
from napari_segxai.metrics.functional import sufficiency
from napari_segxai.metrics.functional.channel_importance import channel_importance
from napari_segxai.metrics.functional.faithfulness import aopc, insertion_deletion, part_sizes
from napari_segxai.metrics.functional.localization import f_score
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.functional.thresholding import boxed, region
from napari_segxai.metrics.perturbed_copies import Reader, crop, in_order, look
from napari_segxai.metrics.registry import all_metrics, find_metric
from napari_segxai.metrics.table import _evaluations, choose, evaluate_steps, object_on_image, planned_passes


@contextmanager
def asked(model=None, image=None, target="object", **prepare) -> Iterator[Question]:
    model = planted_model() if model is None else model
    image = planted_image() if image is None else image
    target = target if isinstance(target, sx.Target) else sx.Target(target)
    with model.in_use("cpu") as device:
        prepared = model.prepare(image, **prepare)
        yield Question(model, image, prepared, target, device=device, seed=0, planned=Passes())


def cause(ndim: int = 2) -> np.ndarray:
    """The true reasons of the planted network: the patch, and the object itself."""
    out = np.zeros((32, 32), np.float32)
    out[PATCH], out[OBJECT] = 1, 0.8
    return out if ndim == 2 else np.repeat(out[None], 6, 0)


def truth(ndim: int = 2) -> np.ndarray:
    out = np.zeros((32, 32), bool)
    out[OBJECT] = True
    return out if ndim == 2 else np.repeat(out[None], 6, 0)


def values_of(rows, name: str) -> dict[str, float | None]:
    return {row["metric"]: row["value"] for row in rows if row["map"] == name}


# -- insertion and deletion ----------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_true_cause_beats_a_random_order(ndim):
    with asked(planted_model(ndim), planted_image(ndim)) as question:
        found = finish(insertion_deletion(question, {"cause": cause(ndim)}, controls=3))
    assert set(found) == {"cause", "random order", "random order 2", "random order 3"}
    own = found.pop("cause")
    for control in found.values():
        for score in ("dice", "iou", "probability"):
            assert own.curve("insertion", score).area > control.curve("insertion", score).area + 0.2
            assert own.curve("deletion", score).area < control.curve("deletion", score).area - 0.2


def test_the_curves_equal_a_loop_written_out():
    image = planted_image()
    map = np.random.default_rng(4).permutation(32 * 32).reshape(32, 32).astype(np.float32)  # no ties
    with asked() as question:
        found = finish(insertion_deletion(question, {"map": map}, steps=7))["map"]
        network = planted_model().module
        order = np.argsort(-map, axis=None)
        low = image.array.min()
        with torch.no_grad():
            whole = network(torch.from_numpy(image.array)[None, None])[0]
        inside = (whole[1] > whole[0]).numpy()
        for k, count in enumerate(round(k * 1024 / 7) for k in range(8)):
            for which in ("insertion", "deletion"):
                keep = np.zeros(1024, bool)
                keep[order[:count] if which == "insertion" else order[count:]] = True
                copy = np.where(keep.reshape(32, 32), image.array, low)
                with torch.no_grad():
                    logits = network(torch.from_numpy(copy)[None, None])[0].numpy()
                drawn, p = logits[1] > logits[0], 1 / (1 + np.exp(logits[0] - logits[1]))
                readings = getattr(found, which)
                both = (drawn & inside).sum()
                assert readings.dice[k] == pytest.approx(2 * both / (drawn.sum() + inside.sum()), abs=1e-6)
                assert readings.iou[k] == pytest.approx(both / (drawn | inside).sum(), abs=1e-6)
                assert readings.probability[k] == pytest.approx(p[inside].mean(), rel=1e-4)
                p = p[inside]
                entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
                assert readings.entropy[k] == pytest.approx(entropy, rel=1e-3, abs=1e-6)
    curve = found.curve("insertion")
    np.testing.assert_allclose(curve.share, np.array(part_sizes(1024, 7)) / 1024)
    steps = np.diff(curve.share)
    assert curve.area == pytest.approx((steps * (curve.score[:-1] + curve.score[1:]) / 2).sum())
    assert curve.score[0] == 0
    assert curve.score[-1] == 1


def test_area_and_aopc_by_hand():
    from napari_segxai.metrics.functional.curve import Curve

    assert Curve(np.array([0, 0.5, 1]), np.array([1.0, 0.5, 0])).area == 0.5
    assert Curve(np.array([0, 0.25, 1]), np.array([0.0, 1, 1])).area == pytest.approx(0.125 + 0.75)
    assert aopc(np.array([1.0, 0.5, 0]), 1.0) == 0.5


def test_all_maps_share_their_batches(monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 8)
    sizes = []
    with asked() as question:
        forward = question.executor.forward
        monkeypatch.setattr(question.executor, "forward", lambda x: sizes.append(len(x)) or forward(x))
        maps = {f"map {k}": np.random.default_rng(k).random((32, 32)) for k in range(6)}
        finish(insertion_deletion(question, maps, steps=28))
    copies = 6 * 2 * 27 + 1  # between none and all; the empty canvas is one for all
    assert sizes == [1] + [8] * (copies // 8) + [copies % 8]
    assert question.passes.forward == copies + 1


def test_a_map_alone_and_among_others_gets_the_same_curve():
    rng = np.random.default_rng(5)
    maps = {name: rng.random((32, 32)) for name in "abc"}
    with asked() as question:
        together = finish(insertion_deletion(question, maps))
    with asked() as question:
        alone = finish(insertion_deletion(question, {"b": maps["b"]}))
    np.testing.assert_allclose(together["b"].insertion.dice, alone["b"].insertion.dice, atol=1e-6)
    np.testing.assert_allclose(together["b"].deletion.probability, alone["b"].deletion.probability, atol=1e-5)


def test_running_out_of_memory_costs_a_batch_not_the_result(monkeypatch):
    with asked() as question:
        expected = finish(insertion_deletion(question, {"cause": cause()}))["cause"]
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 8)
    with asked() as question:
        forward = question.executor.forward

        def scarce(x):
            if len(x) > 2:
                raise torch.OutOfMemoryError("no memory")
            return forward(x)

        monkeypatch.setattr(question.executor, "forward", scarce)
        found = finish(insertion_deletion(question, {"cause": cause()}))["cause"]
    np.testing.assert_allclose(found.insertion.dice, expected.insertion.dice, atol=1e-6)
    np.testing.assert_allclose(found.deletion.dice, expected.deletion.dice, atol=1e-6)


def test_it_can_be_stopped_between_batches(monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 4)
    with asked() as question:
        work = insertion_deletion(question, {"cause": cause()})
        step = next(work)
        assert "4 of" in step.note
        work.close()
        assert question.passes.forward == 1 + 4


def test_an_evaluation_can_be_stopped_before_every_metric(monkeypatch):
    names = ["insertion-dice", "max-mask-accuracy", "warping-error-mask"]
    metrics, maps = [find_metric(name) for name in names], {"a": cause(), "b": truth().astype(float)}
    measured, row = [], evaluate._row
    monkeypatch.setattr(
        evaluate, "_row", lambda e, m, why: measured.append((e.name, m.name)) or row(e, m, why)
    )
    with asked() as question:
        question.planned = planned_passes(metrics, 2)
        steps = list(evaluate_steps(maps, question, truth=truth(), metrics=names))
    assert measured == [(name, metric) for name in "ab" for metric in names]
    assert [step.note for step in steps[-6:]] == [f"{m.title}: {name}" for name in "ab" for m in metrics]
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert done[-6:] == [question.planned.cost] * 6  # all passes are over, and all were planned
    assert {step.total for step in steps} == {question.planned.cost}
    measured.clear()
    with asked() as question:
        work = evaluate_steps(maps, question, truth=truth(), metrics=names)
        next(step for step in work if step.note == f"{metrics[2].title}: a")
        work.close()
    assert measured == [("a", names[0]), ("a", names[1])]


def test_a_blurred_canvas_is_another_canvas():
    with asked() as question:
        found = finish(insertion_deletion(question, {"cause": cause()}, insertion_canvas="blur"))["cause"]
        blurred = question.forward(question.baseline("blur"))
        p = question.model.probability(blurred, 1)[0][question.predicted].mean()
        assert found.insertion.probability[0] == pytest.approx(float(p), rel=1e-4)
        assert found.deletion.probability[-1] != found.insertion.probability[0]  # the other is constant


def test_equal_values_come_in_random_order_and_negative_ones_last():
    order = ranks(torch.tensor([0.0, 1, -1, 0, 0, 1, 0]), 0)
    assert set(order[[1, 5]].tolist()) == {0, 1}
    assert int(order[2]) == 6
    flat = torch.zeros(1000)
    first, again, other = ranks(flat, 0), ranks(flat, 0), ranks(flat, 1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.15
    assert sorted(first.tolist()) == list(range(1000))


def test_every_step_shows_or_hides_so_many_pixels():
    order = ranks(torch.rand(6, 7), 0)
    for insert in (True, False):
        masks = in_order("k", order, [0, 1, 10, 42], lambda masks: masks, insert=insert).make(1, 3)
        assert masks.shape == (3, 1, 6, 7)
        assert masks.sum((1, 2, 3)).tolist() == ([1, 10, 42] if insert else [41, 32, 0])
        assert float(masks[1, 0].flatten()[order.flatten() == 9]) == insert  # the tenth


def test_wrong_questions_are_refused():
    with asked() as question:
        with pytest.raises(UserError, match="2 or more"):
            finish(insertion_deletion(question, {"cause": cause()}, steps=1))
        with pytest.raises(UserError, match=r"'small' has shape \(3, 3\)"):
            finish(insertion_deletion(question, {"small": np.ones((3, 3))}))


# -- what is kept --------------------------------------------------------------------------------------


def test_keeping_everything_changes_nothing():
    with asked() as question:
        rows = finish(evaluate_steps({"all": np.full((32, 32), 0.1)}, question, truth=truth()))
    got = values_of(rows, "all")
    for name in ("dice-explained", "pps", "pps-binarized", "ips", "ips-binarized", "average-increase"):
        assert got[name] == pytest.approx(1, abs=1e-6), name
    for name in ("average-drop", "average-drop-original", "average-drop-box", "average-drop-mask"):
        assert got[name] == pytest.approx(0, abs=1e-6), name
    assert got["perturbation-ratio"] == got["saliency-ratio"] == 1024 / (100 + 36)
    # all of the image: log 1 - log p
    with asked() as question:
        p = float(Reader(question).whole.probability[0])
    for name in ("saliency-metric-box", "saliency-metric-box-pasted", "saliency-metric-mask"):
        assert got[name] == pytest.approx(-math.log(p), abs=1e-5), name
    assert got["recall-mask"] == 1
    assert got["precision-mask"] == pytest.approx(100 / 1024)
    assert got["pointing-game-mask"] is None  # a map of one value points nowhere
    assert got["insertion-dice"] is None  # and has no order


def test_without_the_cause_the_object_is_gone():
    only_object = truth().astype(float)
    with asked() as question:
        rows = finish(
            sufficiency.dice_explained(
                question, {"cause": cause(), "object": only_object}, thresholds=(0.1, 0.9)
            )
        )
    by = {(row["map"], row["threshold"]): row for row in rows}
    assert by["cause", 0.1]["dice_explained"] == 1
    assert by["object", 0.1]["dice_explained"] == 0
    assert by["cause", 0.9]["dice_explained"] < 1  # the patch alone
    assert by["cause", 0.1]["ratio_mask"] == 1
    assert by["object", 0.1]["ratio_mask"] == pytest.approx(100 / 136)


def test_on_the_image_only_pixels_that_show_something_count():
    array = planted_image().array.copy()
    array[28:, :] = array.min()  # as dark as what hides
    image, map = sx.Image(array, name="planted"), cause()
    map[28:, :] = 1
    with asked(image=image) as question:
        (row,) = finish(sufficiency.dice_explained(question, {"map": map}, thresholds=(0.5,)))
        got = values_of(finish(evaluate_steps({"map": map}, question)), "map")
    assert row["ratio_mask"] == pytest.approx((136 + 128) / 136)
    assert row["ratio_image"] == pytest.approx(1)
    assert got["perturbation-ratio-image"] == pytest.approx(1)
    assert got["perturbation-ratio"] == pytest.approx((136 + 128) / 136)


@pytest.mark.parametrize("size", [(64, 64), (37, 41), (24, 30)])
def test_an_even_ground_shows_nothing_after_resampling(size):
    """Resampled values of one even ground are equal up to rounding only."""
    array = np.full((50, 45), 0.3, np.float32)
    array[10:20, 10:30] = 1
    model = sx.load_model(Bright(), card=card(grid={"size": list(size)}))
    with asked(model, sx.Image(array, name="even")) as question:
        found = finish(
            evaluate_steps({"all": np.ones((50, 45))}, question, metrics=["perturbation-ratio-image"])
        )
        drawn = object_on_image(question).sum()
    shown = found[0]["value"] * drawn
    assert 200 <= shown <= 14 * 24  # the object, and at most two pixels around it


def test_drops_and_the_saliency_metric_by_hand():
    assert sufficiency.average_drop(0.8, 0.6) == pytest.approx(0.25)
    assert sufficiency.average_drop(0.8, 1.0) == pytest.approx(
        0.25
    )  # Aabid and Sicre take the absolute value
    assert sufficiency.average_drop(0.8, 1.0, original=True) == 0
    assert sufficiency.average_drop(0.0, 0.5) is None
    assert [sufficiency.average_increase(0.5, p) for p in (0.4, 0.5, 0.6)] == [0, 1, 1]
    assert [sufficiency.average_increase(0.5, p, original=True) for p in (0.4, 0.5, 0.6)] == [0, 0, 1]
    # what differs by rounding alone is a tie, either way
    for p in (0.5 - 1e-6, 0.5, 0.5 + 1e-6):
        assert sufficiency.average_increase(0.5, p) == 1
        assert sufficiency.average_increase(0.5, p, original=True) == 0
        assert sufficiency.average_drop(0.5, p) == sufficiency.average_drop(0.5, p, original=True) == 0
    assert sufficiency.saliency_metric(0.5, 0.5) == pytest.approx(0)
    assert sufficiency.saliency_metric(0.001, 1.0) == pytest.approx(math.log(0.05))
    assert math.isfinite(sufficiency.saliency_metric(1.0, 0.0))


def test_pps_by_hand():
    map = np.random.default_rng(6).random((32, 32)).astype(np.float32)
    image, network = planted_image().array, planted_model().module
    soft = (map - map.min()) / (map.max() - map.min())
    with torch.no_grad():
        low = image.min()
        copies = torch.from_numpy(np.stack([image, low + soft * (image - low)])[:, None])
        before, after = network(copies).softmax(1)[:, 1]
    with asked() as question:
        got = values_of(
            finish(evaluate_steps({"map": map}, question, metrics=["pps", "ips", "average-drop"])), "map"
        )
    assert got["pps"] == pytest.approx(float(torch.minimum(before, after).sum() / before.sum()), rel=1e-4)
    assert got["ips"] == pytest.approx(soft.mean(), rel=1e-5)
    inside = before > 0.5
    p, o = float(before[inside].mean()), float(after[inside].mean())
    assert got["average-drop"] == pytest.approx(abs(p - o) / p, rel=1e-4)


class Bright(nn.Module):
    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], 1) * 8


def test_a_crop_is_put_back_in_its_place():
    """A network that looks at every pixel by itself sees in a crop what it saw before."""
    array = np.zeros((32, 32), np.float32)
    array[8:24, 8:24] = 1
    model = sx.load_model(Bright(), card=card())
    with asked(model, sx.Image(array)) as question:
        reader = Reader(question)
        seen = finish(
            look(reader, [crop(0, question, ((8, 8), (15, 23))), crop(1, question, ((0, 0), (31, 31)))])
        )
        assert seen[0].dice[0] == pytest.approx(
            2 * 128 / (128 + 256), abs=1e-6
        )  # the upper half of the object
        assert seen[0].probability[0] == pytest.approx(reader.whole.probability[0] / 2, rel=1e-4)
        assert seen[1].dice[0] == 1


# -- channels and noise --------------------------------------------------------------------------------


class SecondChannel(nn.Module):
    def forward(self, x):
        return torch.cat([0.5 - x[:, 1:2], x[:, 1:2] - 0.5], 1) * 8


@pytest.mark.parametrize("how", ["permutation", "mean"])
def test_the_channel_that_matters_stands_out(how, monkeypatch):
    rng = np.random.default_rng(7)
    array = rng.random((3, 24, 24)).astype(np.float32)
    array[1] *= 0.4
    array[1, 5:12, 5:12] += 2
    model = sx.load_model(SecondChannel(), card=card(channels=["red", "green", "blue"]))
    with asked(model, sx.Image(array, channel_axis=0)) as question:
        rows = finish(channel_importance(question, how=how, repeats=3))
        assert question.passes.forward == 1 + 3 * (3 if how == "permutation" else 1)
    assert [row["channel"] for row in rows] == ["red", "green", "blue"]
    for row, matters in zip(rows, (False, True, False), strict=True):
        for score in ("dice", "iou", "probability"):
            assert (row[f"{score}_drop"] > 0.1) == matters
            assert row[f"{score}_drop"] == pytest.approx(0, abs=1e-6) or matters
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 1)
    with asked(model, sx.Image(array, channel_axis=0)) as question:
        again = finish(channel_importance(question, how=how, repeats=3))
        assert again[1]["dice_drop"] == pytest.approx(rows[1]["dice_drop"])
        with pytest.raises(UserError, match="permutation or mean"):
            finish(channel_importance(question, how="zero"))
        with pytest.raises(UserError, match="from 1 to 1000000"):
            finish(channel_importance(question, repeats=0))


def test_noise_that_a_noise_model_adds():
    map = cause()
    with asked() as question:
        rows = finish(
            evaluate_steps(
                {"cause": map, "all": map * 0 + 1},
                question,
                metrics=["ana", "srm"],
                noise_model=lambda x: 2 - x,
            )
        )
        image = planted_image().array
        low = image.min()
        noise = 2 - (low + map * (image - low))
        assert values_of(rows, "cause")["ana"] == pytest.approx(noise.mean(), rel=1e-5)
        assert values_of(rows, "cause")["srm"] == pytest.approx((noise**2).mean(), rel=1e-5)
        assert values_of(rows, "all")["ana"] == pytest.approx((2 - image).mean(), rel=1e-5)
        with pytest.raises(UserError, match="noise model returned"):
            finish(evaluate_steps({"cause": map}, question, metrics=["ana"], noise_model=lambda x: x[0]))


# -- tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_metric_has_a_value_for_an_ordinary_map(ndim):
    noise = {"noise_model": lambda x: x}
    metrics = choose(None, truth=True, noise_model=True)
    assert metrics == list(all_metrics())
    with asked(planted_model(ndim), planted_image(ndim)) as question:
        rows = finish(
            evaluate_steps({"cause": cause(ndim)}, question, truth=truth(ndim), controls=1, **noise)
        )
    # both canvases are the same and are seen once; so are random maps of equal area, of which this map has two
    assert question.passes.forward == planned_passes(metrics, 1, 1, chance=0).forward + (1 + 2) * 20
    assert question.passes.forward < planned_passes(metrics, 1, 1).forward
    own = [row for row in rows if row["map"] == "cause"]
    assert [row["metric"] for row in own] == [m.name for m in metrics]
    for row in own:
        assert isinstance(row["value"], float), row
        assert math.isfinite(row["value"])
        assert row["reason"] == ""
        curved = ("insertion", "deletion", "dice-over-threshold")
        assert (row["curve"] is not None) == row["metric"].startswith(curved)
    control = values_of(rows, "random order")
    assert set(control) == {m.name for m in metrics if m.family == "faithfulness"}
    got = values_of(rows, "cause")
    for score in ("dice", "iou", "probability"):
        assert got[f"insertion-{score}"] > control[f"insertion-{score}"]
        assert got[f"deletion-{score}"] < control[f"deletion-{score}"]
        assert got[f"aopc-removing-{score}"] > control[f"aopc-removing-{score}"]
        assert got[f"aopc-removing-least-{score}"] < control[f"aopc-removing-least-{score}"]
        assert got[f"aopc-adding-{score}"] > control[f"aopc-adding-{score}"]
    assert got["boundary-share"] + got["interior-share"] + got["context-share"] == pytest.approx(1)
    assert got["energy-pointing-game-mask"] == pytest.approx(80 / 116)


def test_empty_maps_and_truths_are_undefined_with_a_reason():
    with asked() as question:
        rows = finish(
            evaluate_steps({"zero": np.zeros((32, 32)), "against": -cause()}, question, truth=truth())
        )
        misses = {
            "localization-error": 1,
            "recall": 0,
            "f1": 0,
            "box-accuracy": 0,
            "mask-accuracy": 0,
            "max": 0,
        }
        for row in rows:
            stated = [v for name, v in misses.items() if row["metric"].startswith(name)]
            if row["map"] == "against" and row["family"] == "faithfulness":
                continue  # negative values still have an order
            assert row["value"] == (stated[0] if stated else None), row
            assert row["reason"] == ("" if stated else row["reason"])
            assert stated or row["reason"]
        assert {row["reason"] for row in rows} == {
            "",
            "the map is 0 everywhere.",
            "the map has no positive value.",
        }
        rows = finish(evaluate_steps({"cause": cause()}, question, truth=np.zeros((32, 32), bool)))
        for row in rows:
            if "truth" in find_metric(row["metric"]).needs:
                assert (row["value"], row["reason"]) == (None, "the truth is empty."), row


def test_a_label_that_is_not_predicted():
    dark = sx.Image(np.zeros((32, 32), np.float32), name="dark")
    with asked(image=dark) as question:
        rows = finish(evaluate_steps({"cause": cause()}, question, truth=truth(), controls=1))
        assert question.passes.forward == 1
        with pytest.raises(EmptyRegion):
            finish(insertion_deletion(question, {"cause": cause()}))
    for row in rows:
        needs = find_metric(row["metric"]).needs
        if "network" in needs:
            assert row["value"] is None
            assert "predicts no pixel as 'object'" in row["reason"]
        elif "truth" in needs:
            assert row["value"] is not None
        elif row["metric"].startswith(("perturbation", "saliency")) or row["family"] == "shares":
            assert row["reason"] == "the label is not predicted."


def test_what_is_asked_for_by_name_says_what_it_lacks():
    with asked() as question:
        rows = finish(evaluate_steps({"cause": cause()}, question, metrics=["f1-box", "ana", "ips"]))
        assert [(row["value"] is None, row["reason"]) for row in rows] == [
            (True, "no truth was given."),
            (True, "no noise model was given."),
            (False, ""),
        ]
        for wrong, match in (
            ({"metrics": ["insertion"]}, "insertion-iou"),
            ({"metrics": "ips"}, r"\['ips'\]"),
            ({"steps": 1}, "2 or more"),
            ({"treshold": "mean"}, "threshold"),
            ({"truth": np.ones((3, 3))}, "the truth has shape"),
        ):
            with pytest.raises(UserError, match=match):
                finish(evaluate_steps({"cause": cause()}, question, **wrong))
        with pytest.raises(UserError, match="'small' has shape"):
            finish(evaluate_steps({"small": np.ones((3, 3))}, question))


def test_one_object_of_several():
    """The object, as the region asked about, without the patch, which is drawn too."""
    target = sx.Target("object", region=truth())
    with asked(target=target) as question:
        got = values_of(finish(evaluate_steps({"cause": cause()}, question)), "cause")
        assert int(Reader(question).object.sum()) == 100
    assert got["perturbation-ratio"] == pytest.approx(1.36)
    assert got["dice-explained"] == 1  # the patch that comes back does not count against it


def test_another_object_of_the_label_does_not_count():
    array = np.zeros((32, 32), np.float32)
    array[4:12, 4:12] = array[20:28, 20:28] = 1
    first = np.zeros((32, 32), bool)
    first[4:12, 4:12] = True
    model, names = sx.load_model(Bright(), card=card()), ["pps", "dice-explained", "average-drop"]
    got = []
    for region_ in (first, None):
        with asked(model, sx.Image(array), sx.Target("object", region=region_)) as question:
            got.append(values_of(finish(evaluate_steps({"a": first}, question, metrics=names)), "a"))
    for (name, alone), both in zip(got[0].items(), (0.5, 2 / 3, 0.5), strict=True):
        assert alone == pytest.approx(0 if name == "average-drop" else 1, abs=1e-6)
        assert got[1][name] == pytest.approx(both, abs=0.01)


def test_equal_values_stay_equal_on_another_grid():
    """Else rounding would decide the order within a plateau."""
    map = np.zeros((61, 59))
    map[10:40, 10:40] = 0.1
    with asked(sx.load_model(Bright(), card=card(grid={"size": [32, 32]})), sx.Image(map + 0.5)) as question:
        (one,) = _evaluations({"a": map}, question, None, None, None, Options())
        inner = one.map_to_model(one.map)[7:19, 8:19]
        assert inner.unique().numel() == 1
        assert float(inner[0, 0]) == pytest.approx(0.1, rel=1e-4)


def test_results_do_not_depend_on_how_the_image_is_stored():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    model = sx.load_model(
        planted_model(3).module, card=card(3, grid={"size": [6, 32, 32]}, orientation="RAS")
    )
    names = [
        "dice-explained",
        "pps",
        "boundary-share",
        "localization-error-box",
        "saliency-metric-box",
        "ips",
    ]
    array = planted_image(3).array
    map = cause(3) + np.random.default_rng(8).uniform(0, 0.1, array.shape).astype(np.float32)
    turn = lambda a: np.ascontiguousarray(np.moveaxis(a, 0, 2)[::-1])
    turned = np.zeros((4, 4))  # the axes of the turned array are the second (reversed), third and first
    turned[1, 0], turned[2, 1], turned[0, 2], turned[3, 3] = -affine[1, 1], affine[2, 2], affine[0, 0], 1
    turned[1, 3] = affine[1, 1] * (array.shape[1] - 1)
    got = []
    for image, m, t in (
        (sx.Image(array, affine=affine), map, truth(3)),
        (sx.Image(turn(array), affine=turned), turn(map), turn(truth(3))),
    ):
        with asked(model, image) as question:
            got.append(values_of(finish(evaluate_steps({"map": m}, question, truth=t, metrics=names)), "map"))
    for name in names:
        assert got[0][name] == pytest.approx(got[1][name], rel=1e-5), name


@pytest.mark.parametrize("grid", [{"size": [32, 32]}, {"multiple": 16}])
def test_other_grids_than_that_of_the_image(grid):
    """Resampled, and padded: the prediction is that of `predict`, and keeping everything changes nothing."""
    image = sx.Image(np.ascontiguousarray(planted_image(side=32).array[:29, :27].repeat(2, 0)), name="tall")
    model = sx.load_model(Bright(), card=card(grid=grid))
    with asked(model, image) as question:
        assert question.grid != image.spatial_shape
        (one,) = _evaluations({"a": np.ones(image.spatial_shape)}, question, None, None, None, Options())
        np.testing.assert_array_equal(one.prediction, model.predict(image, device="cpu") == 1)
        assert one.prediction.any()
        assert tuple(one.map_to_model(one.map).shape) == question.grid
        rows = finish(evaluate_steps({"all": np.ones(image.spatial_shape)}, question))
        got = values_of(rows, "all")
        for name in ("pps", "dice-explained", "ips"):
            assert got[name] == pytest.approx(1, abs=1e-6)
        low, high = (
            finish(insertion_deletion(question, {"a": sign * question.predicted.float()}))["a"]
            for sign in (-1, 1)
        )
        assert high.curve("deletion").area < low.curve("deletion").area


def test_a_dear_canvas_is_made_once(monkeypatch):
    made = []
    with asked() as question:
        hide = question.hide
        monkeypatch.setattr(question, "hide", lambda kind: made.append(kind) or hide(kind))
        options = {"insertion_canvas": "blur", "deletion_canvas": "noise", "baseline": "blur"}
        maps = {name: np.random.default_rng(k).random((32, 32)) for k, name in enumerate("abc")}
        finish(evaluate_steps(maps, question, **options))
    assert sorted(made) == ["blur", "noise"]


def test_a_2d_model_on_a_volume_is_evaluated_on_its_slice():
    volume = np.stack([planted_image().array * 0, planted_image().array, planted_image().array * 0])
    maps, truths = np.zeros((2, 3, 32, 32))
    maps[1], truths[1] = cause(), truth()
    maps[0] = 7  # of another slice
    names = [
        "dice-explained",
        "energy-pointing-game-mask",
        "insertion-dice",
        "perturbation-ratio",
        "average-drop-box",
    ]
    with asked(image=sx.Image(volume), slice=1) as question:
        whole = values_of(finish(evaluate_steps({"map": maps}, question, truth=truths, metrics=names)), "map")
    with asked() as question:
        flat = values_of(
            finish(evaluate_steps({"map": cause()}, question, truth=truth(), metrics=names)), "map"
        )
    assert whole == pytest.approx(flat, rel=1e-5)


def test_metrics_without_a_network_need_no_question():
    map, prediction = cause(), truth()
    alone = Evaluation("cause", map, prediction, truth(), (1.0, 1.0), Options())
    with asked(target=sx.Target("object", region=truth())) as question:
        names = [m.name for m in all_metrics() if "network" not in m.needs]
        rows = finish(evaluate_steps({"cause": map}, question, truth=truth(), metrics=names))
    for row in rows:
        assert find_metric(row["metric"]).measure(alone) == pytest.approx(row["value"]), row["metric"]


def test_options_reach_the_metrics():
    map = cause() * 0.5
    map[20, 30], map[21, 31] = 1, 0.3  # the peak, far from the object; they touch at a corner
    options = {"threshold": "maximum", "level": 0.35, "components": "all", "ties": "share", "tau": 0.35}
    names = [
        "f1-mask",
        "f1-box",
        "localization-error-mask",
        "box-accuracy",
        "pointing-game-mask",
        "dice-explained",
    ]

    def ask(**changes):
        with asked() as question:
            rows = finish(evaluate_steps({"map": map}, question, truth=truth(), metrics=names, **changes))
        return values_of(rows, "map")

    got = ask(**options)
    found = region(map, "maximum", 0.35, "all")
    assert got["f1-mask"] == pytest.approx(f_score(found, truth()))
    assert got["f1-box"] == pytest.approx(f_score(boxed(found, "all"), truth()))
    assert got["f1-mask"] < ask(**{**options, "components": "largest"})["f1-mask"] == 1
    assert got["box-accuracy"] == 1
    assert ask(**{**options, "sigma": 0.9})["box-accuracy"] == 0
    assert got["pointing-game-mask"] == 0
    assert ask(tolerance=15.2)["pointing-game-mask"] == 1  # 15 columns from the object
    assert ask(tolerance=14.9)["pointing-game-mask"] == 0
    assert ask(binarize=0.6)["dice-explained"] < got["dice-explained"] == 1
    assert ask(baseline="mean")["dice-explained"] == pytest.approx(
        1
    )  # the object and the patch are all it needs


def test_the_registry():
    for metric in all_metrics():
        described = metric.as_json()
        assert described["name"] == metric.name
        assert metric.summary
        assert metric.source
        assert metric.better in ("higher", "lower", None)
        assert set(metric.needs) <= {"truth", "network", "noise model"}
        assert metric.form in ("box", "mask", "")
        assert not metric.series or "network" in metric.needs
        if metric.name.endswith(("-box", "-mask")):
            assert metric.name.endswith(metric.form)
    assert find_metric("pps").title.startswith("Prediction")
    with pytest.raises(UserError, match="'pps'"):
        find_metric("ppss")
    forms = {m.name.replace("-box", "-*").replace("box-", "*-") for m in all_metrics() if m.form == "box"}
    masks = {m.name.replace("-mask", "-*").replace("mask-", "*-") for m in all_metrics() if m.form == "mask"}
    assert forms - {"saliency-metric-*-pasted"} <= masks  # every box metric has its mask form

"""Insertion and deletion: planted causes, loops written out, batches, stopping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.metrics import asked, cause, curve, truth, ways
from helpers.networks import planted_image, planted_model

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import finish
from napari_segxai.engine.primitives import perturb
from napari_segxai.metrics import table as evaluate
from napari_segxai.metrics.functional.faithfulness import aopc, part_sizes
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.perturbed_copies import in_order
from napari_segxai.metrics.registry import find_metric
from napari_segxai.metrics.table import evaluate_steps, planned_passes


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_true_cause_beats_a_random_order(ndim):
    with asked(planted_model(ndim), planted_image(ndim)) as question:
        found = finish(ways(question, {"cause": cause(ndim)}, controls=3))
    assert set(found) == {"cause", "random order", "random order 2", "random order 3"}
    own = found.pop("cause")
    for control in found.values():
        for score in ("dice", "iou", "probability"):
            assert curve(own, "insertion", score).area > curve(control, "insertion", score).area + 0.2
            assert curve(own, "deletion", score).area < curve(control, "deletion", score).area - 0.2


def test_the_curves_equal_a_loop_written_out():
    image = planted_image()
    map = np.random.default_rng(4).permutation(32 * 32).reshape(32, 32).astype(np.float32)  # no ties
    with asked() as question:
        found = finish(ways(question, {"map": map}, steps=7))["map"]
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
                readings = found.way(which)
                both = (drawn & inside).sum()
                assert readings.dice[k] == pytest.approx(2 * both / (drawn.sum() + inside.sum()), abs=1e-6)
                assert readings.iou[k] == pytest.approx(both / (drawn | inside).sum(), abs=1e-6)
                assert readings.probability[k] == pytest.approx(p[inside].mean(), rel=1e-4)
                p = p[inside]
                entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
                assert readings.entropy[k] == pytest.approx(entropy, rel=1e-3, abs=1e-6)
    shown = curve(found, "insertion")
    np.testing.assert_allclose(shown.share, np.array(part_sizes(1024, 7)) / 1024)
    steps = np.diff(shown.share)
    assert shown.area == pytest.approx((steps * (shown.score[:-1] + shown.score[1:]) / 2).sum())
    assert shown.score[0] == 0
    assert shown.score[-1] == 1


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
        finish(ways(question, maps, steps=28))
    copies = 6 * 2 * 27 + 1  # between none and all; the empty canvas is one for all
    assert sizes[0] == 1
    assert sum(sizes[1:]) == copies
    assert len(sizes[1:]) == -(-copies // 8)
    assert set(sizes[1:]) == {7, 8}  # as even as can be
    assert question.passes.forward == copies + 1


def test_a_map_alone_and_among_others_gets_the_same_curve():
    rng = np.random.default_rng(5)
    maps = {name: rng.random((32, 32)) for name in "abc"}
    with asked() as question:
        together = finish(ways(question, maps))
    with asked() as question:
        alone = finish(ways(question, {"b": maps["b"]}))
    np.testing.assert_allclose(
        together["b"].way("insertion").dice, alone["b"].way("insertion").dice, atol=1e-6
    )
    np.testing.assert_allclose(
        together["b"].way("deletion").probability, alone["b"].way("deletion").probability, atol=1e-5
    )


def test_running_out_of_memory_costs_a_batch_not_the_result(monkeypatch):
    with asked() as question:
        expected = finish(ways(question, {"cause": cause()}))["cause"]
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 8)
    with asked() as question:
        forward = question.executor.forward

        def scarce(x):
            if len(x) > 2:
                raise torch.OutOfMemoryError("no memory")
            return forward(x)

        monkeypatch.setattr(question.executor, "forward", scarce)
        found = finish(ways(question, {"cause": cause()}))["cause"]
    np.testing.assert_allclose(found.way("insertion").dice, expected.way("insertion").dice, atol=1e-6)
    np.testing.assert_allclose(found.way("deletion").dice, expected.way("deletion").dice, atol=1e-6)


def test_it_can_be_stopped_between_batches(monkeypatch):
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 4)
    with asked() as question:
        work = ways(question, {"cause": cause()})
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
        found = finish(ways(question, {"cause": cause()}, insertion_canvas="blur"))["cause"]
        blurred = question.forward(question.baseline("blur"))
        p = question.model.probability(blurred, 1)[0][question.predicted].mean()
        assert found.way("insertion").probability[0] == pytest.approx(float(p), rel=1e-4)
        assert (
            found.way("deletion").probability[-1] != found.way("insertion").probability[0]
        )  # the other is constant


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
        with pytest.raises(UserError, match=r"steps.*2"):
            finish(evaluate_steps({"cause": cause()}, question, steps=1))
        with pytest.raises(UserError, match=r"'small' has shape \(3, 3\)"):
            finish(evaluate_steps({"small": np.ones((3, 3))}, question))

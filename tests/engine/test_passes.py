"""The passes of a record are those that the network ran: every image of a batch counts, not the batch."""

from __future__ import annotations

import pytest
from helpers.networks import LinearHead, card, planted_image

import napari_segxai as sx
from napari_segxai.core.progress import MOST_PASSES, Passes

PASSES = {
    "rise": ({"masks": 37}, {"forward": 38, "backward": 0}),
    "smooth-grad": ({"samples": 7}, {"forward": 8, "backward": 7}),
    "integrated-gradients": ({"steps": 9}, {"forward": 19, "backward": 9}),
    "seg-ablation-cam": ({}, {"forward": 1, "backward": 0, "suffix": 8}),
    "u-noise": ({"steps": 6}, {"forward": 47, "backward": 12}),
}  # fmt: skip


@pytest.mark.parametrize("method", PASSES)
def test_every_image_of_a_batch_is_counted(method):
    params, passes = PASSES[method]
    network, batches = LinearHead(), []
    model = sx.load_model(network, card=card(grid={"size": [32, 32]}))
    target = sx.Target("object", region="image")
    network.head.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    sx.explain(model, planted_image(), target, method, **params)  # looks at the network, too
    batches.clear()
    found = sx.explain(model, planted_image(), target, method, **params)
    assert max(batches) > 1
    assert sum(batches) == found.record.passes["forward"] + found.record.passes.get("suffix", 0)
    assert found.record.passes == passes


def test_what_passes_cost():
    """In forward passes: a backward pass is two, one from a network layer on is half of one."""
    passes = Passes(forward=3, backward=2, suffix=4)
    assert passes.cost == 3 + 2 * 2 + 4 // 2
    assert (passes + passes).cost == (passes * 2).cost == 2 * passes.cost
    assert str(passes) == "3 forward, 2 backward, 4 from the layer on"
    assert passes.as_dict() == {"forward": 3, "backward": 2, "suffix": 4}
    assert Passes(1).as_dict() == {"forward": 1, "backward": 0}
    assert str(Passes()) == "no passes"
    assert Passes(MOST_PASSES).bounded("this") == Passes(MOST_PASSES)
    with pytest.raises(
        sx.UserError, match=f"this would take 1e\\+07 passes .* at most {MOST_PASSES} are run"
    ):
        Passes(MOST_PASSES + 1).bounded("this")
    with pytest.raises(sx.UserError, match="this would take"):
        Passes(backward=MOST_PASSES // 2 + 1).bounded("this")


def test_a_pass_of_many_windows_moves_on_within():
    from napari_segxai.core.progress import Step, finish, part_done

    def work():
        yield Step(2, 4, "forward pass")
        part_done(3, 12)
        yield Step(3, 4, "done")

    seen: list[Step] = []
    finish(work(), seen.append)
    assert [(step.done, step.note) for step in seen] == [
        (2, "forward pass"),
        (2.25, "forward pass: window 3 of 12"),
        (3, "done"),
    ]

"""The engine: memory, cancelling, and leaving the model as it was."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from helpers.metrics import asked
from helpers.networks import LinearHead, card, planted_image, planted_model
from helpers.states import SMALL
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.engine.primitives import perturb
from napari_segxai.engine.question import Question
from napari_segxai.models.introspection.modules import first_tensor, replace_first_tensor


class Batches(list):
    """The batches of a network and of its copies."""

    def __deepcopy__(self, memo):
        return self


class Small(nn.Module):
    """A network for which memory ends at a batch size."""

    def __init__(self, largest: int):
        super().__init__()
        self.inner = planted_model().module
        self.largest, self.batches = largest, Batches()

    def forward(self, x):
        self.batches.append(len(x))
        if len(x) > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return self.inner(x)


def test_running_out_of_memory_halves_the_batch_and_keeps_the_work():
    network = Small(3)
    model = sx.load_model(network, card=card(grid={"size": [32, 32]}))
    ex = sx.explain(model, planted_image(), "object", "rise", masks=100, precision="float32")
    np.testing.assert_allclose(
        ex.map,
        sx.explain(planted_model(), planted_image(), "object", "rise", masks=100, precision="float32").map,
        rtol=1e-4,
        atol=1e-6,
    )
    # The dry run twice and with two images at once, the list of layers, the prediction; the fused network, and what it is
    # compared with.
    assert sum(n for n in network.batches if n <= 3) == 100 + 8


@pytest.mark.parametrize("method", ["rise", "misure"])
def test_too_little_memory_for_one_image_is_said_and_the_next_run_works(method):
    network = Small(3)
    model = sx.load_model(network, card=card(grid={"size": [32, 32]}))
    network.largest = 0
    with pytest.raises(sx.OutOfMemory, match="ran out of memory") as caught:
        sx.explain(model, planted_image(), "object", method, **SMALL[method])
    assert not isinstance(caught.value, RuntimeError)
    network.largest = 64
    assert sx.explain(model, planted_image(), "object", method, **SMALL[method]).map.any()


def test_no_more_masks_are_held_than_one_batch(monkeypatch):
    """Memory is flat in the number of masks: a batch's masks are gone before the next are made."""
    import gc
    import weakref

    from napari_segxai.methods.perturbation import rise

    alive: list[weakref.ref] = []
    most = 0
    original = rise.MaskSampler.__call__

    def counted(self, numbers):
        nonlocal most
        if sum(ref() is not None for ref in alive) > 1:
            gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        masks = original(self, numbers)
        alive.append(weakref.ref(masks))
        return masks

    monkeypatch.setattr(rise.MaskSampler, "__call__", counted)
    monkeypatch.setattr(perturb, "batch_size", lambda *_, **__: 5)
    sx.explain(planted_model(), planted_image(), "object", "rise", masks=60)
    assert len(alive) == 12
    assert most <= 1


def test_recorded_activations_survive_in_place_operations():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.act, self.head = (
                nn.Conv2d(1, 4, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(4, 2, 1),
            )

        def forward(self, x):
            return self.head(self.act(self.conv(x)))

    network = InPlace()
    image = planted_image()
    inplace = sx.explain(
        sx.load_model(network, card=card()), image, "object", "seg-hires-grad-cam", layer="conv"
    ).map
    network.act.inplace = False
    plain = sx.explain(
        sx.load_model(network, card=card()), image, "object", "seg-hires-grad-cam", layer="conv"
    ).map
    np.testing.assert_array_equal(inplace, plain)


def test_a_module_called_twice_has_two_network_layers():
    class Twice(LinearHead):
        def __init__(self):
            super().__init__()
            self.again = nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x):
            x = self.again(self.features(x))
            return self.head(self.again(x.relu()))

    model = sx.load_model(Twice(), card=card())
    names = [layer.name for layer in model.network_layers()]
    assert names.index("again") < names.index("again@2")
    target = sx.Target("object", region="image")
    maps = [
        sx.explain(model, planted_image(), target, "seg-hires-grad-cam", layer=name).map
        for name in ("again", "again@2", "features")
    ]
    assert all(values.any() for values in maps)
    assert not np.allclose(maps[0], maps[1])


def test_dicts_and_tuples_are_looked_into():
    tensor = torch.ones(2)
    nested = {"aux": (1, torch.arange(3)), "out": [tensor, torch.zeros(1)]}
    assert first_tensor(nested) is tensor
    changed = replace_first_tensor(nested, lambda t: t + 1)
    assert changed["out"][0].tolist() == [2, 2]
    assert nested["out"][0] is tensor
    assert first_tensor(None) is None


def test_a_progress_bar_in_the_terminal(capsys):
    ex = sx.explain(planted_model(), planted_image(), "object", "rise", masks=40, progress=True)
    assert ex.map.any()
    said = capsys.readouterr().err  # drawn at once; how often again depends on the clock
    assert "%|" in said
    assert " of 40" in said


def test_a_question_is_gone_with_its_last_name():
    """On a GPU it holds memory, which must not wait for a garbage collection."""
    model, image = planted_model(), planted_image()
    device = torch.device("cpu")
    with model.in_use(device):
        question = Question(
            model, image, model.prepare(image), sx.Target("object"), device=device, seed=0, planned=Passes()
        )
        question.forward_again(question.input.clone().requires_grad_(True))
        alive = weakref.ref(question.executor)
        gc.disable()
        try:
            del question
            assert alive() is None
        finally:
            gc.enable()


def test_a_cell_of_the_model_grid_has_a_size_in_the_image_s_units():
    image = sx.Image(np.zeros((16, 64), np.float32), spacing=(2.0, 0.5), units="mm")
    model = sx.load_model(LinearHead(), card=card(grid={"size": [32, 16]}))
    with asked(model, image) as question:
        assert question.cell_size == pytest.approx((1.0, 2.0))
        assert question.cell_volume == pytest.approx(2.0)
        assert question.size_name == "area_mm2"


def test_values_that_are_not_finite_become_zero_and_that_is_said():
    class Root(nn.Module):
        """Its gradient is infinite where the image is 0, and its prediction finite everywhere."""

        def forward(self, x):
            root = x.clamp(min=0).sqrt()
            return torch.cat([torch.full_like(x, 0.5), root], 1)

    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    model = sx.load_model(Root(), card=card(grid={"size": [8, 8]}))
    found = sx.explain(model, sx.Image(image), sx.Target("object", region="image"), "vanilla-gradient")
    assert np.isfinite(found.map).all()
    assert found.map[0, 0] == 0
    assert found.map[0, 1] > found.map[7, 7] > 0
    assert "the map held values that are not finite; they were set to 0." in found.record.warnings

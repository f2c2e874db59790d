"""Weights are on a device for as long as they are used there. Where there is no GPU, "cpu:0" stands for one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_segxai.models.inference import residence as residence_module
from napari_segxai.models.inference.residence import Residence

THERE, CPU = torch.device("cpu", 0), torch.device("cpu")


@pytest.fixture(autouse=True)
def copied(monkeypatch):
    """Every copy that is made there."""
    made: list[torch.Tensor] = []

    def copy(tensor, device):
        assert device == THERE
        made.append(tensor.detach().clone())
        return made[-1]

    monkeypatch.setattr(residence_module, "_copy", copy)
    return made


class Tied(nn.Module):
    """A weight that two modules share, a buffer, and a batch normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.arange(3.0))


def tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def test_everything_comes_home_as_it_was(copied):
    module = Tied()
    residence = Residence(module)
    own = [(id(t), t.data_ptr(), t.detach().clone()) for t in tensors(module)]
    with residence.on(THERE):
        assert residence.device == THERE
        assert {t.data_ptr() for t in tensors(module)} == {t.data_ptr() for t in copied}
        assert module.second.weight is module.first.weight
        with torch.no_grad():
            module.norm.running_mean.add_(1)  # of the copy
    assert residence.device == CPU
    for tensor, (name, place, values) in zip(tensors(module), own, strict=True):
        assert (id(tensor), tensor.data_ptr()) == (name, place)
        assert torch.equal(tensor, values)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_weights_that_changed_in_any_way_are_those_that_are_used(copied):
    module = Tied()
    residence = Residence(module)
    with residence.on(THERE):
        pass
    assert not residence._lent  # nothing of the device is held on to
    with torch.no_grad():
        module.first.bias.add_(1)
    module.first.weight.data.fill_(2)  # which leaves no trace
    module.second.bias.data = torch.ones(3)
    module.scale.numpy()[:] = 3
    wanted = [t.detach().clone() for t in tensors(module)]
    with residence.on(THERE):
        for tensor, values in zip(tensors(module), wanted, strict=True):
            assert torch.equal(tensor, values)


def test_the_last_user_brings_it_home():
    module = Tied()
    residence, home = Residence(module), module.scale.data_ptr()
    outer, inner = residence.on(THERE), residence.on(THERE)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert module.scale.data_ptr() != home
    inner.__exit__(None, None, None)
    assert module.scale.data_ptr() == home


def test_its_owner_may_change_it():
    module = Tied()
    residence = Residence(module)
    with residence.on(THERE):
        pass
    module.double()
    with residence.on(THERE):
        assert module.scale.dtype == torch.float64
    assert module.scale.dtype == torch.float64
    module.to("meta")
    with residence.on(torch.device("meta")):
        assert residence.home == torch.device("meta")


def test_a_failure_on_the_way_leaves_it_at_home(monkeypatch, copied):
    module = Tied()
    residence = Residence(module)
    places = [t.data_ptr() for t in tensors(module)]

    def failing(tensor, device):
        if len(copied) == 3:
            raise torch.OutOfMemoryError("out of memory")
        copied.append(tensor.detach().clone())
        return copied[-1]

    monkeypatch.setattr(residence_module, "_copy", failing)
    with pytest.raises(torch.OutOfMemoryError), residence.on(THERE):
        pass
    assert residence.device == CPU
    assert [t.data_ptr() for t in tensors(module)] == places


def test_networks_that_are_moved_in_their_own_way():
    class Own(nn.Linear):
        def _apply(self, fn, recurse=True):
            moved.append(1)
            return super()._apply(fn, recurse)

    moved: list[int] = []
    residence = Residence(Own(2, 2))
    with residence.on(CPU):
        assert not moved
    with residence.on(THERE):
        assert len(moved) == 1
    assert len(moved) == 2


def test_what_the_network_puts_in_the_place_of_a_buffer_stays():
    module = Tied()
    residence = Residence(module)
    with residence.on(THERE):
        there, module.scale = module.scale, torch.arange(5.0)
        # As if the new tensor had the name of the one that is gone.
        residence._lent[id(module.scale)] = residence._lent.pop(id(there))
    assert torch.equal(module.scale, torch.arange(5.0))

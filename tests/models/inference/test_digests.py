"""The digest of weights is that of the weights as they are now, however they were changed."""

import pytest
import torch
from helpers.networks import card, planted_image
from torch import nn

import napari_segxai as sx
from napari_segxai.models.inference.weights import digest


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 2, 1)
    )


@torch.no_grad()
def step(module):
    module[2].weight -= 1e-9 * torch.ones_like(module[2].weight)


def through_data(module):
    module[2].weight.data[5] = 0


def through_numpy(module):
    module[2].weight.detach().numpy()[0, 0, 0, 0] += 1


def swapped(module):
    module[3].bias.data.copy_(module[3].bias.data.flip(0))


def exchanged(module):
    module[3] = nn.Conv2d(64, 2, 1)


@pytest.mark.parametrize("change", [step, through_data, through_numpy, swapped, exchanged])
def test_a_digest_follows_the_weights(change):
    module = network()
    model = sx.load_model(module, card=card())
    before = model.sha256
    assert before == model.sha256 == digest(module)
    change(module)
    assert model.sha256 == digest(module) != before


def test_a_counter_counts():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    model = sx.load_model(module, card=card())
    before = model.sha256
    module[1].num_batches_tracked.data += 1
    assert model.sha256 == digest(module) != before


def test_records_name_the_weights_that_answered():
    module = network()
    model = sx.load_model(module, card=card())
    first = sx.explain(model, planted_image(), "object", "vanilla-gradient")
    module[3].weight.data *= 2
    second = sx.explain(model, planted_image(), "object", "vanilla-gradient")
    told = [one.record.model["sha256"] for one in (first, second)]
    assert told[0] != told[1] == digest(module)

"""The digest of weights is that of the weights as they are now, however they were changed."""

import numpy as np
import pytest
import torch
from helpers.networks import card, planted_image
from torch import nn

import napari_segxai as sx
from napari_segxai.models.inference.weights import digest, fingerprint


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


def filters_swapped(module):
    """A large weight whose sum and sum of squares stay as they were."""
    module[2].weight.data.copy_(module[2].weight.data.roll(1, 0))


def by_the_last_digit(module):
    values = module[2].weight.detach().numpy()
    values[17, 3, 1, 2] = np.nextafter(values[17, 3, 1, 2], np.float32(9))


def exchanged(module):
    module[3] = nn.Conv2d(64, 2, 1)


@pytest.mark.parametrize(
    "change", [step, through_data, through_numpy, swapped, filters_swapped, by_the_last_digit, exchanged]
)
def test_a_digest_follows_the_weights(change):
    module = network()
    model = sx.load_model(module, card=card())
    before = model.sha256
    assert before == model.sha256 == digest(module)
    change(module)
    assert model.sha256 == digest(module) != before


def test_a_network_that_is_not_finite_is_followed_too():
    module = network()
    module[2].weight.data[0, 0, 0, 0] = torch.nan
    before = fingerprint(module)
    assert before == fingerprint(module)
    module[2].weight.data[40] += 1
    assert fingerprint(module) != before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int8])
def test_weights_of_every_type_are_followed_wherever_they_lie(dtype):
    for n in (0, 1, 4096, 4097, 20000):
        for start in (0, 1):  # a view into a larger buffer, which begins in the midst of a word
            module = nn.Module()
            values = torch.arange(n + start).to(dtype)[start:]
            module.register_buffer("values", values)
            found = [fingerprint(module)[1]]
            for place in {0, n // 2, n - 1} if n else ():
                values[place] = 3 - values[place]
                found.append(fingerprint(module)[1])
            assert len(set(found)) == len(found)
    module.values = torch.zeros(20000, dtype=dtype).view(100, 200).T  # not contiguous
    assert fingerprint(module) == fingerprint(module)


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

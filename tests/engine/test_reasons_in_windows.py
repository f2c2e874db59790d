"""A reason that lies in the neighbouring window: which methods find it, of all there are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.methods.registry import all_methods, find_method

REASON = (slice(6, 10), slice(28, 30))
OBJECT = (slice(6, 10), slice(20, 24))
ELSEWHERE = (slice(None), slice(34, None))

NOT_ASKED = {
    "activations-x-predictions": "where the prediction is",
    "channel-importance": "which channels count",
    "deep-dream": "an image that the network would like",
    "extremal-perturbation": "what suffices: here more than its largest area",
    "grid-saliency": "what lies around the object, as far as that is worth its price: here it is not",
    "object-edit": "what changes with the object",
    "score-maps": "the score itself",
    "stable-explanation": "another method, on copies that move; the reason is two cells wide",
    "u-noise": "a network that is trained; a few steps are too few",
}
"""What some methods look for instead."""

NO_ANSWER = {
    "adapted-seg-grad-cam": "no convolution between its bottleneck and its head",
    "adapted-seg-grad-cam-plus-plus": "no convolution between its bottleneck and its head",
    "adapted-seg-score-cam": "no convolution between its bottleneck and its head",
    "adversarial-attack": "whose gradient has no gradient of its own",
}
"""Those that refuse this network, and what they say."""

SHORT = {
    "guided-integrated-gradients": {"steps": 16},
    "kernel-shap": {"samples": 200},
    "misure": {"alternatives": 0, "repeats": 0},
    "occlusion": {"patch": 2},
    "rise": {"masks": 300},
    "seg-sobol": {"designs": 8},
}


class Neighbor(nn.Module):
    """Draws a dim cell where a bright one lies at most 10 cells to its right: (N, 1, *grid) -> (N, 2, *grid)."""

    def __init__(self) -> None:
        super().__init__()
        self.bright, self.act, self.reach = nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d((1, 11), 1)
        with torch.no_grad():
            self.bright.weight.fill_(20)
            self.bright.bias.copy_(torch.tensor([-16.0, -17.0]))

    def forward(self, x: Tensor) -> Tensor:
        bright = self.act(self.bright(x)).mean(1, keepdim=True)
        right = self.reach(nn.functional.pad(bright, (0, 10)))
        dim = torch.sigmoid(40 * (x - 0.3)) * torch.sigmoid(40 * (0.7 - x))
        drawn = 8 * dim * right - 4
        return torch.cat([-drawn, drawn], 1)


@pytest.fixture(scope="module")
def model() -> sx.SegmentationModel:
    windows = {"size": [16, 24], "overlap": 0.5}  # a window ends at 24, where the reason's begins
    card = {"name": "neighbor", "labels": ["background", "thing"], "spatial_dims": 2, "windows": windows}
    return sx.SegmentationModel(Neighbor(), card)


def explained(model: sx.SegmentationModel, method: str) -> np.ndarray:
    image = np.zeros((16, 48), np.float32)
    image[OBJECT], image[REASON] = 0.5, 1
    where = np.zeros(image.shape, bool)
    where[OBJECT] = True
    options = dict(SHORT.get(method, {}))
    if any(field.name == "layer" for field in dataclasses.fields(find_method(method).options)):
        options["layer"] = "act"
    return sx.explain(model, image, sx.Target("thing", region=where), method, device="cpu", **options).map


@pytest.mark.parametrize(
    "method", [one.name for one in all_methods("image") if one.name not in {*NOT_ASKED, *NO_ANSWER}]
)
def test_a_reason_in_the_next_window_is_found(method, model):
    map = explained(model, method)
    map = np.abs(map - np.median(map))  # RISE is not 0 where nothing counts
    assert map[REASON].mean() > 3 * map[ELSEWHERE].mean()


@pytest.mark.parametrize("method", NO_ANSWER)
def test_what_cannot_be_answered_is_said(method, model):
    with pytest.raises(sx.UserError, match=NO_ANSWER[method]):
        explained(model, method)

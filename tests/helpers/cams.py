"""What tests of the CAM family share."""

from __future__ import annotations

import numpy as np
from helpers.networks import LinearHead, card

import napari_segxai as sx


def setup(ndim: int, **changes):
    shape = (16, 20) if ndim == 2 else (8, 10, 12)
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    model = sx.load_model(LinearHead(ndim, **changes), card=card(ndim))
    return model, sx.Image(array)

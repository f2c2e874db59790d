"""What docs/own_network.md says of networks that take images otherwise runs, and is what the network itself gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

import napari_segxai as sx

PAGE = Path(sx.__file__).parents[1] / "docs" / "own_network.md"


def logits(model: sx.SegmentationModel, image: sx.Image) -> torch.Tensor:
    with torch.no_grad():
        return model.module(model.prepare(image).tensor)


def test_wrappers_of_the_page():
    text = (
        PAGE.read_text(encoding="utf-8")
        .partition("## Networks that take images otherwise")[2]
        .partition("\n## ")[0]
    )
    last, slices = re.findall(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    torch.manual_seed(0)
    names: dict = {}
    exec(last, names)
    picture, network = names["picture"], names["network"]
    with torch.no_grad():
        own = network(torch.from_numpy(picture.array / 255).float()[None]).movedim(-1, 1)
    torch.testing.assert_close(logits(names["model"], picture), own)
    assert names["ex"].map.shape == (32, 40)
    exec(slices, names)
    volume, network, ex = names["volume"], names["network"], names["ex"]
    seen = names["model"].prepare(volume).tensor[0, 0]
    with torch.no_grad():
        middle, first = network(torch.stack([seen[1:6], seen[[0, 0, 0, 1, 2]]]))
    drawn = logits(names["model"], volume)
    torch.testing.assert_close(drawn[0, :, 3], middle)
    torch.testing.assert_close(drawn[0, :, 0], first)
    read = np.abs(ex.map).sum((1, 2)) > 0
    assert read[1:6].all()  # slice 3 and two neighbours on either side
    rise = sx.explain(names["model"], volume, "organ", "rise", masks=8)
    assert rise.map.shape == volume.array.shape

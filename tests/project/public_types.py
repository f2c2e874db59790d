"""What a script writes, for the type checker alone (`make lint`): nobody runs this file.

An assertion fails where a public name no longer gives the type that is said here.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np

import napari_segxai as sx


def a_script(path: str) -> None:
    """Every public function, as README shows it."""
    image = assert_type(sx.read_image(path), sx.Image)
    model = assert_type(sx.load_model("unet-t1"), sx.SegmentationModel)
    assert_type(sx.save_model(model, "saved"), Path)
    assert_type(sx.join_channels([image, image]), sx.Image)
    assert_type(sx.read_region(path, image), np.ndarray)
    assert_type(model.predict(image), np.ndarray)
    target = sx.Target("brain", region=sx.Box((0, 0, 0), (9, 9, 9)))
    found = assert_type(sx.explain(model, image, target, "misure", lr=0.01), sx.Explanation)
    assert_type(found.map, np.ndarray)
    assert_type(sx.explain_all(model, image, ["brain"], "rise")[0], sx.Explanation)
    table = assert_type(sx.compare(model, image, "brain", ["misure", "rise:masks=1000"]), sx.Comparison)
    table.save("out")
    evaluated = sx.evaluate(model, table.explanations, truth=image, metrics="all", controls=2, binarize=0.2)
    assert_type(evaluated, sx.Comparison)
    assert_type(sx.load_comparison("out"), sx.Comparison)
    assert_type(sx.load_sweep("out"), sx.Sweep)
    assert_type(sx.sweep(model, image, "brain", "misure", {"lr": [0.1, 0.2]}), sx.Sweep)
    flow = assert_type(sx.information_flow(model, image, method="seg-hires-grad-cam"), sx.Flow)
    assert_type(flow.explanation("brain", "decoder1"), sx.Explanation)

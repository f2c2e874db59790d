"""Freeze what nnU-Net's own functions make of a small label image: tests/data/nnunet/label_images.json.

Needs an environment of its own with nnunetv2 (2.8.1), never the project's:

    python scripts/make_label_images.py tests/data/nnunet/label_images.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

BEFORE, AFTER, SHAPE, GRID = (4.0, 1.0, 1.2), (2.3, 0.8, 1.0), (5, 8, 6), (9, 10, 7)

SPLINES, TORCH = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"

CASES = {
    "usual": (SPLINES, {"order": 1, "order_z": 0, "force_separate_z": None}),
    "together": (SPLINES, {"order": 1, "order_z": 0, "force_separate_z": False}),
    "nearest": (SPLINES, {"order": 0, "order_z": 0, "force_separate_z": None}),
    "nearest, together": (SPLINES, {"order": 0, "order_z": 0, "force_separate_z": False}),
    "cubic": (SPLINES, {"order": 3, "order_z": 0, "force_separate_z": False}),
    "linear along the coarse axis": (SPLINES, {"order": 1, "order_z": 1, "force_separate_z": None}),
    "always apart": (SPLINES, {"order": 1, "order_z": 0, "force_separate_z": True}),
    "torch": (TORCH, {"force_separate_z": False, "memefficient_seg_resampling": False}),
    "torch, apart": (TORCH, {"force_separate_z": None, "memefficient_seg_resampling": False}),
    "torch, more than half": (TORCH, {"force_separate_z": False, "memefficient_seg_resampling": True}),
}


def main(out: Path) -> None:
    """Write the label image and what each function makes of it."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    functions = {SPLINES: resample_data_or_seg_to_shape, TORCH: resample_torch_fornnunet}
    rng = np.random.default_rng(0)
    blocks = rng.choice([-1, 0, 1, 2, 5], (3, 4, 3)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    labels = blocks[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(np.int8)
    found = {}
    for name, (function, told) in CASES.items():
        made = functions[function](labels[None].copy(), np.array(GRID), BEFORE, AFTER, is_seg=True, **told)
        found[name] = {"function": function, "told": told, "labels": np.asarray(made)[0].astype(int).tolist()}
    facts = {"before": BEFORE, "after": AFTER, "labels": labels.tolist(), "found": found}
    out.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

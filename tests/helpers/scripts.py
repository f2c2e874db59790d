"""What tests of copied scripts share."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from helpers.networks import LinearHead, card

import napari_segxai as sx

PLACES = np.array([[0, 0, -2.0, 9], [1.5, 0, 0, -8], [0, -3.1, 0, 7], [0, 0, 0, 1]])  # stored as A, I, L
WITHOUT_FIGURES = """
from pathlib import Path
from napari_segxai.figures import style
style.write_figure = lambda figure, to, *args, **more: Path(to).touch()
"""
"""Comes before what runs scripts that save: nobody looks at their figures, which take half of the time."""
RUN = """
import os, runpy, sys
import numpy as np
for folder in sys.argv[1:]:
    os.chdir(folder)
    made = runpy.run_path("script.py")
    if "explanation" in made:
        found = {"map": made["explanation"].map}
        if made["explanation"].record.trust:
            found["numbers"] = np.array([row["number"] for row in made["explanation"].record.trust], float)
    elif "flow" in made:
        found = {f"{label} {layer}": tile.map for (label, layer), tile in made["flow"].tiles.items()}
        found["rows"] = np.array([row["dice_truth"] for row in made["flow"].rows], float)
    else:
        comparison = made["comparison"] if "comparison" in made else made["sweep"].comparison
        found = dict(comparison.maps)
        found["rows"] = np.array([row["value"] for row in comparison.rows], float)
    np.savez("found.npz", **found)
"""


def volume(path: Path, shape=(7, 6, 5), affine=PLACES) -> str:
    values = np.random.default_rng(len(shape)).random(shape, np.float32)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return str(path)


def boxed(shape) -> np.ndarray:
    """Half of a grid, off its middle along every axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(1, max(2, n - 2)) for n in shape)] = True
    mask[(0,) * len(shape)] = True
    return mask


def network(ndim: int, inputs: int = 1, **changes) -> sx.SegmentationModel:
    fields = card(ndim, channels=[f"c{k}" for k in range(inputs)], **changes)
    return sx.load_model(LinearHead(ndim, 4, inputs=inputs), card=fields)

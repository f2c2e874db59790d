"""A folder that a stranger filled, and a watch over what commands do in it."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
import skimage.io
import typer
from helpers.strangers import EVIL, Watch, write_model

from napari_segxai.cli.app import app


@pytest.fixture(scope="session", autouse=True)
def _one_command():
    """The commands are made once: typer makes them again for every line, which takes half of the time."""
    made = typer.main.get_command(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", lambda _: made)
        yield


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A folder with images, models, and what a stranger left there; it is the working folder."""
    root = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    skimage.io.imsave(root / "grey.png", rng.integers(0, 255, (16, 16), np.uint8), check_contrast=False)
    skimage.io.imsave(root / "dot.png", np.full((1, 1), 7, np.uint8), check_contrast=False)
    skimage.io.imsave(root / "colour.png", rng.integers(0, 255, (16, 16, 3), np.uint8), check_contrast=False)
    nib.save(
        nib.Nifti1Image(rng.normal(size=(8, 8, 4)).astype(np.float32), np.eye(4)), root / "volume.nii.gz"
    )
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 1
    skimage.io.imsave(root / "mask.png", mask, check_contrast=False)
    (root / "noise.png").write_bytes(rng.bytes(300))
    (root / "empty.png").touch()
    (root / "evil.py").write_text(EVIL)
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe.yaml")
    (root / "loop.png").symlink_to("loop.png")
    (root / "taken").mkdir()
    (root / "taken" / "record.json").mkdir()
    write_model(root / "net", {})
    (root / "net" / "beside.py").write_text(EVIL)
    write_model(root / "names", {"labels": ["background", "../../x", "/abs"]})
    before = os.getcwd()
    os.chdir(root)
    yield root
    os.chdir(before)

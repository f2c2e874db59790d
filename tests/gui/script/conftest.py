"""What copied scripts are run with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.forks import Fork, be_new
from helpers.networks import LinearHead, card
from helpers.scripts import RUN, WITHOUT_FIGURES
from safetensors.torch import save_file

import napari_segxai as sx


@pytest.fixture
def run_scripts(tmp_path):
    """Run scripts in a process to which this package is new, each in a folder of its own; returns what each found."""

    def run(texts: dict[str, str]) -> dict[str, dict[str, np.ndarray]]:
        folders = {}
        for name, text in texts.items():
            folders[name] = tmp_path / "runs" / name.replace(" ", "_")
            folders[name].mkdir(parents=True)
            (folders[name] / "script.py").write_text(text)
        done = Fork(
            partial(be_new, "-c", WITHOUT_FIGURES + RUN, *map(str, folders.values())), tmp_path / "said"
        )
        assert done.wait() == 0, done.said
        return {name: dict(np.load(folder / "found.npz")) for name, folder in folders.items()}

    return run


@pytest.fixture
def stored(tmp_path):
    """A model folder with code of its own, whose weights are those of `network`."""

    def make(ndim: int, inputs: int = 1, **changes) -> sx.SegmentationModel:
        folder = tmp_path / f"model {ndim} {inputs}"
        folder.mkdir()
        (folder / "net.py").write_text(
            (Path(__file__).parents[2] / "helpers" / "networks.py")
            .read_text()
            .partition("class PatchSwitch")[0]
        )
        fields = card(ndim, architecture="net:LinearHead", **changes)
        fields["arguments"] = {"ndim": ndim, "channels": 4, "inputs": inputs}
        (folder / "model.yaml").write_text(yaml.safe_dump(fields))
        save_file(LinearHead(ndim, 4, inputs=inputs).state_dict(), folder / "weights.safetensors")
        return sx.load_model(folder, trust=True)

    return make

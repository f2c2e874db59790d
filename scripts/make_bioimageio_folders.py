"""Make the small bioimage.io models of tests/data/bioimageio with its own library, and freeze what its predictor makes of an image.

Needs an environment of its own with bioimageio.core (0.11) and torch, never the project's; takes seconds:

    python scripts/make_bioimageio_folders.py tests/data/bioimageio

`cells` (0.5, 2D, two channels: foreground and boundary by sigmoid; its class lies in a file with a digest, and as TorchScript),
`volume` (0.4, 3D, one output; a function in a file makes its network). Networks are untrained. ``frozen.npz`` holds an image, what the
network got and what came back, as `bioimageio.core` computes both, behind its preprocessing and postprocessing; the image is not
mirrored around itself by the halo, as it does by default.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bioimageio.core import create_prediction_pipeline
from bioimageio.core.digest_spec import create_sample_for_model
from bioimageio.spec import InvalidDescr, load_description, save_bioimageio_package_as_folder
from bioimageio.spec.model import v0_5

CELLS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels: int, outputs: int, features: int = 4):
        super().__init__()
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.deep = nn.Conv2d(features, 2 * features, 3, padding=1)
        self.last = nn.Conv2d(3 * features, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.first(x))
        deep = torch.relu(self.deep(nn.functional.max_pool2d(first, 4)))
        return self.last(torch.cat([first, nn.functional.interpolate(deep, scale_factor=4.0)], 1))
"""

VOLUME = """\
from torch import nn


def make_network(features):
    return nn.Sequential(nn.Conv3d(1, features, 3, padding=1), nn.ReLU(), nn.Conv3d(features, 1, 1))
"""


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def network(source: str, name: str, shift: float, **arguments: Any) -> torch.nn.Module:
    """Make an untrained network whose outputs cross 0."""
    scope: dict[str, Any] = {}
    exec(source, scope)  # the lines above
    torch.manual_seed(0)
    made = scope[name](**arguments)
    with torch.no_grad():
        for value in made.parameters():
            value.mul_(2)
        list(made.parameters())[-1].add_(shift)
    return made.eval()


def cells(folder: Path) -> Path:
    """Write the description of version 0.5 and its package; return the package."""
    (folder / "unet.py").write_text(CELLS)
    (folder / "README.md").write_text("# Cells\n\nAn untrained network, for tests.\n")
    made = network(CELLS, "Net", -0.7, channels=2, outputs=2)
    torch.save(made.state_dict(), folder / "weights.pt")
    torch.jit.save(torch.jit.script(network_of(folder, made)), folder / "weights_script.pt")
    rng = np.random.default_rng(1)
    np.save(folder / "input.npy", rng.gamma(2, 100, (1, 2, 24, 32)).astype("float32"))
    np.save(folder / "output.npy", np.full((1, 2, 24, 32), 0.5, "float32"))
    space = lambda tensor: [  # noqa: E731
        {"type": "space", "id": axis, "size": {"tensor_id": "raw", "axis_id": axis}, "halo": 4} if tensor else
        {"type": "space", "id": axis, "size": {"min": 16, "step": 8}} for axis in "yx"
    ]  # fmt: skip
    model = v0_5.ModelDescr.model_validate(
        {
            "format_version": "0.5.5",
            "type": "model",
            "name": "Cells (foreground and boundary)",
            "description": "An untrained network, for tests.",
            "authors": [{"name": "Nobody"}],
            "cite": [{"text": "nothing", "url": "https://example.com"}],
            "license": "MIT",
            "documentation": str(folder / "README.md"),
            "timestamp": "2026-01-01T00:00:00",
            "inputs": [{
                "id": "raw",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["membrane", "nucleus"]}, *space(False)],
                "test_tensor": {"source": str(folder / "input.npy")},
                "preprocessing": [
                    {"id": "scale_range", "kwargs": {"axes": ["y", "x"], "min_percentile": 1, "max_percentile": 99.8}},
                    {"id": "clip", "kwargs": {"min": -0.1, "max": 1.1}},
                ],
            }],
            "outputs": [{
                "id": "maps",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["foreground", "boundary"]}, *space(True)],
                "test_tensor": {"source": str(folder / "output.npy")},
                "postprocessing": [{"id": "sigmoid"}],
            }],
            "weights": {
                "pytorch_state_dict": {
                    "source": str(folder / "weights.pt"),
                    "sha256": digest(folder / "weights.pt"),
                    "pytorch_version": "2.0",
                    "architecture": {
                        "source": str(folder / "unet.py"),
                        "sha256": digest(folder / "unet.py"),
                        "callable": "Net",
                        "kwargs": {"channels": 2, "outputs": 2},
                    },
                },
                "torchscript": {
                    "source": str(folder / "weights_script.pt"),
                    "sha256": digest(folder / "weights_script.pt"),
                    "pytorch_version": "2.0",
                    "parent": "pytorch_state_dict",
                },
            },
        }
    )  # fmt: skip
    return save_bioimageio_package_as_folder(model, output_path=folder / "package")


def network_of(folder: Path, made: torch.nn.Module) -> torch.nn.Module:
    """Return the same network from its file, which TorchScript wants to read."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("unet", folder / "unet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    other = module.Net(2, 2).eval()
    other.load_state_dict(made.state_dict())
    return other


def volume(folder: Path) -> Path:
    """Write the description of version 0.4; return its folder."""
    (folder / "network.py").write_text(VOLUME)
    (folder / "README.md").write_text("# Volume\n\nAn untrained network, for tests.\n")
    torch.save(network(VOLUME, "make_network", 0.5, features=3).state_dict(), folder / "weights.pt")
    rng = np.random.default_rng(2)
    np.save(folder / "test_input.npy", rng.normal(100, 20, (1, 1, 8, 16, 12)).astype("float32"))
    np.save(folder / "test_output.npy", np.full((1, 1, 8, 16, 12), 0.5, "float32"))
    text = f"""\
format_version: 0.4.10
type: model
name: Volume
description: An untrained network, for tests.
authors: [{{name: Nobody}}]
cite: [{{text: nothing, url: 'https://example.com'}}]
license: MIT
documentation: README.md
timestamp: '2026-01-01T00:00:00'
tags: [segmentation]
test_inputs: [test_input.npy]
test_outputs: [test_output.npy]
inputs:
- name: input
  axes: &axes bczyx
  data_type: float32
  data_range: [-.inf, .inf]
  shape: {{min: [1, 1, 4, 8, 8], step: [0, 0, 2, 4, 4]}}
  preprocessing:
  - name: zero_mean_unit_variance
    kwargs: {{mode: per_sample, axes: zyx, eps: 1.0e-05}}
  - name: scale_linear
    kwargs: {{gain: 0.5, offset: 0.25}}
outputs:
- name: mitochondria
  axes: *axes
  data_type: float32
  data_range: [0, 1]
  shape: {{reference_tensor: input, scale: [1, 1, 1, 1, 1], offset: [0, 0, 0, 0, 0]}}
  halo: [0, 0, 1, 2, 2]
  postprocessing:
  - name: sigmoid
weights:
  pytorch_state_dict:
    source: weights.pt
    sha256: {digest(folder / "weights.pt")}
    architecture: network.py:make_network
    architecture_sha256: {digest(folder / "network.py")}
    kwargs: {{features: 3}}
    pytorch_version: 2.0.0
"""
    (folder / "rdf.yaml").write_text(text)
    return folder


def freeze(description: Path, to: Path) -> None:
    """Keep what bioimage.io's predictor makes of the test image."""
    model = load_description(description)
    if isinstance(model, InvalidDescr):
        raise SystemExit(model.validation_summary.format())
    fields = yaml.safe_load(description.read_text())
    first = fields["inputs"][0]
    name = first["test_tensor"]["source"] if "test_tensor" in first else fields["test_inputs"][0]
    image = np.load(description.parent / name)
    sample = create_sample_for_model(model, inputs={first.get("id") or first["name"]: image})
    with create_prediction_pipeline(model, weights_format="pytorch_state_dict") as predictor:
        predictor.apply_preprocessing(sample)
        seen = np.asarray(next(iter(sample.members.values())).data)
        out = predictor.predict_sample_without_blocking(
            sample, skip_preprocessing=True, skip_input_padding=True, skip_output_cropping=True
        )
    made = np.asarray(next(iter(out.members.values())).data)
    np.savez_compressed(to / "frozen.npz", image=image[0], input=seen, output=made)


def main(folder: Path) -> None:
    """Make both folders."""
    for make, keep in (
        (cells, "rdf.yaml unet.py weights.pt weights_script.pt"),
        (volume, "rdf.yaml network.py weights.pt"),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            package = make(Path(scratch))
            description = next(
                package / name for name in ("rdf.yaml", "bioimageio.yaml") if (package / name).is_file()
            )
            to = folder / make.__name__
            shutil.rmtree(to, ignore_errors=True)
            to.mkdir(parents=True)
            freeze(description, to)
            for name in (description.name, *keep.split()[1:]):
                shutil.copy(package / name, to / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

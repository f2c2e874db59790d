"""A noise network that u-noise has trained and saved, as the metrics ANA and SRM want it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import make_options
from napari_segxai.core.paths import user_path
from napari_segxai.methods.noise_network.file import NAME, network_of, read_noise_file
from napari_segxai.methods.noise_network.net import NoiseNet, bilateral
from napari_segxai.methods.noise_network.options import Options
from napari_segxai.metrics.functional.noise import NoiseModel

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel

SHAPE = ("depth", "channels", "noise_min", "noise_max", "bilateral")
"""What the file says of the network and of the noise that its answer stands for."""


def read_noise_model(path: str | Path, model: SegmentationModel, label: int) -> NoiseModel:
    """Read what u-noise saved as its `weights`; nothing is unpickled.

    Parameters
    ----------
    path
        A safetensors file.
    model, label
        What the noise network has to have been trained for; the label by its position.

    Returns
    -------
    callable
        Inputs (n, channels, *grid) -> standard deviation of the noise (n, 1, *grid), in deviations of each channel:
        B (noise_max - noise_min) + noise_min.

    Raises
    ------
    UserError
        If there is no such file, or it holds something else, or a network trained for something else.
    """
    path = user_path(path)
    facts, tensors = read_noise_file(path)
    dims, inputs = model.card.spatial_dims, len(model.card.channels)
    for what, found, wanted in (
        ("label", facts.get("label"), model.labels[label]),
        ("spatial_dims", facts.get("spatial_dims"), dims),
        ("inputs", facts.get("inputs"), inputs),
    ):
        if found != wanted:
            raise UserError(f"{path} was trained for {what} {found!r}, not {wanted!r}; name another file.")
    if facts.get("model") != model.sha256:
        raise UserError(f"{path} was trained for another model than {model.name}; name another file.")
    try:
        options = make_options(Options, {name: facts[name] for name in SHAPE}, NAME)
        net = NoiseNet(dims, inputs, options.depth, options.channels)
        net.load_state_dict(network_of(tensors))
    except (KeyError, TypeError, RuntimeError, UserError) as error:
        raise UserError(
            f"{path} holds a noise network that does not fit what the file says of it."
        ) from error
    net.requires_grad_(False)
    width, low, high = options.bilateral, options.noise_min, options.noise_max

    def noise_model(inputs: Tensor) -> Tensor:
        spared = net.to(inputs.device)(inputs).sigmoid()
        return (bilateral(spared, width) if width else spared) * (high - low) + low

    return noise_model

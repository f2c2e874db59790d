"""The file of a noise network that u-noise trains: weights as safetensors, and what they were trained for; nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.io.saving import replacing

NAME = "u-noise"
"""Name of the method, and of what its files say in their metadata."""


def read_noise_file(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read what `write_noise_file` wrote.

    Returns
    -------
    facts
        What the file says of its network and training.
    tensors
        By name, on the CPU.

    Raises
    ------
    UserError
        If there is no such file, or it holds something else.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"there is no file {path}; name the one that {NAME} saved as its weights.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(NAME, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a safetensors file that can be read ({error}).") from None
    if not isinstance(facts, Mapping):
        raise UserError(f"{path} holds no noise network of {NAME}; name another file.")
    return facts, tensors


def write_noise_file(path: Path, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a noise network; an older file is replaced only once the new one is complete.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with replacing(path) as beside:
            save_file(plain, beside, metadata={NAME: json.dumps(dict(facts))})
    except SafetensorError as error:  # also for what the disk refuses
        raise UserError(f"{path} cannot be written ({reason_of(error)}).") from None


def network_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network among the tensors of a file, by their names in the network."""
    return {name.removeprefix("net."): value for name, value in tensors.items() if name.startswith("net.")}

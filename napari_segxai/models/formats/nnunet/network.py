"""The network that plans.json describes, with the weights of a checkpoint; nothing of the folder is imported or run."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from torch import nn

from napari_segxai.core.errors import UserError
from napari_segxai.models.formats.nnunet.checkpoint import Checkpoint
from napari_segxai.models.formats.nnunet.plans import Plans
from napari_segxai.models.loading.architecture import build
from napari_segxai.models.loading.weights import fitting_state
from napari_segxai.models.zoo import nnunet

OWN = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
"""Networks that need no other package."""

OTHERS = "dynamic_network_architectures.architectures.unet"
"""Where nnU-Net has its other U-Nets."""

LAYERS = ("conv_op", "norm_op", "dropout_op", "nonlin")
"""Arguments that name a class of torch.nn."""

BLOCKS = {"BasicBlockD": nnunet.BasicBlockD, "BottleneckD": nnunet.BottleneckD}


def network_of(plans: Plans, checkpoint: Checkpoint, inputs: int, outputs: int, *, trust: bool) -> nn.Module:
    """Build the network and load its weights, all of them.

    Raises
    ------
    UserError
        If its class is not known, or the weights are of another network.
    UntrustedCode
        If its package does not lie where packages are installed, and `trust` is False.
    """
    name, arguments = plans.network
    place = f"napari_segxai.models.zoo.nnunet:{name}" if name in OWN else f"{OTHERS}:{name}"
    found = None if name in OWN else importlib.util.find_spec("dynamic_network_architectures")
    if name not in OWN and (found is None or found.origin is None):
        raise UserError(
            f"{plans.path}: the network of {plans.name!r} is a {name}, which is in the package dynamic_network_architectures; install it."
        )
    arguments = {key: _argument(plans, key, value) for key, value in arguments.items()}
    arguments |= {"input_channels": inputs, "num_classes": outputs, "deep_supervision": False}
    _follow_norm(arguments, checkpoint)
    numbers = checkpoint.path.stat().st_size // 2
    module, _ = build(place, arguments, plans.path, trust=trust, numbers=numbers, beside=False)
    try:
        state, _ = fitting_state(checkpoint.weights, module.state_dict(), checkpoint.path)
        module.load_state_dict(state)
    except (UserError, RuntimeError) as error:
        reason = str(error).partition("do not fit the architecture: ")[2] or str(error)
        raise UserError(
            f"{checkpoint.path}: the weights do not fit the network that {plans.path.name} describes for {plans.name!r} with {inputs} "
            f"channel(s) and {outputs} output(s): {reason.rstrip('.')}; the trainer {checkpoint.trainer or 'that is not named'} may have "
            "made another one, or the files are of different trainings."
        ) from None
    return module.eval().requires_grad_(False)


def _argument(plans: Plans, name: str, value: Any) -> Any:
    """Return an argument, with the class that it names where it names one."""
    if name == "block" and value is not None:
        found = BLOCKS.get(str(value).rpartition(".")[2]) if plans.network[0] in OWN else None
        if found is None:
            raise UserError(
                f"{plans.path}: {value!r:.80} is no residual block of nnU-Net; {' or '.join(BLOCKS)} are."
            )
        return found
    if name not in LAYERS or value is None:
        return value
    known = re.fullmatch(r"torch\.nn\.(?:modules\.\w+\.)?([A-Z]\w*)", str(value))
    found = getattr(nn, known[1], None) if known else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"{plans.path}: {name} is {value!r:.80}, which is no layer of torch.nn.")
    return found


def _follow_norm(arguments: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Take batch normalisation where the weights have its running means: one of nnU-Net's trainers puts it in without a word in the plans."""
    norm = arguments.get("norm_op")
    has_means = any(key.endswith(".running_mean") for key in checkpoint.weights)
    if has_means and isinstance(norm, type) and norm.__name__.startswith("InstanceNorm"):
        arguments["norm_op"] = getattr(nn, norm.__name__.replace("InstanceNorm", "BatchNorm"))

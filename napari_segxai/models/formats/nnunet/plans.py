"""What plans.json says of one configuration: its network, and how images are prepared for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError, nearest
from napari_segxai.models.formats.nnunet.dataset import NNUNET
from napari_segxai.models.loading.json_mapping import json_mapping
from napari_segxai.models.preprocessing.label_image import LabelResampling
from napari_segxai.models.preprocessing.resample import COARSE

CONFIGURATION = re.compile(r"\w[\w.-]*")
"""Names of configurations: they are parts of names of folders."""

RESAMPLES = "resample_data_or_seg_to_shape"
"""The function by which nnU-Net resamples unless it is told otherwise."""

BY_TORCH, NOT_RESAMPLED = "resample_torch_fornnunet", "no_resampling_hack"
"""Its other functions."""

LABEL_FUNCTIONS = (RESAMPLES, BY_TORCH, NOT_RESAMPLED)

LABEL_ARGUMENTS: dict[str, Any] = {
    "is_seg": False,
    "order": 3,
    "order_z": 0,
    "force_separate_z": None,
    "separate_z_anisotropy_threshold": COARSE,
    "memefficient_seg_resampling": False,
    "mode": "linear",
    "aniso_axis_mode": "nearest-exact",
    "num_threads": None,
}
"""What these functions are told of label images, and what they do without a word; the number of threads changes nothing."""

OLD_NETWORK = (
    "UNet_class_name",
    "UNet_base_num_features",
    "unet_max_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
)
"""Of plans before nnU-Net 2.3, which had no `architecture`."""


@dataclass(frozen=True)
class Plans:
    """One configuration of plans.json.

    Attributes
    ----------
    path
        The file.
    name
        Of the configuration.
    dataset
        Name of the data set.
    order
        The axes of the network as positions among those that were read.
    reader
        Name of what read the images.
    intensities
        What was found in the foreground of each channel, by its number.
    settings
        The configuration's own keys, with those that it inherits.
    """

    path: Path
    name: str
    dataset: str
    order: tuple[int, ...]
    reader: str
    intensities: dict[str, Any]
    settings: dict[str, Any]

    def need(self, key: str, kind: type | tuple[type, ...] = list) -> Any:
        """Return a key of the configuration.

        Raises
        ------
        UserError
            If it is missing or of another kind.
        """
        value = self.settings.get(key)
        if not isinstance(value, kind):
            what = "lacks" if value is None else "has something else for"
            raise UserError(
                f"{self.path}: the configuration {self.name!r} {what} `{key}`; these plans are of a version of nnU-Net that is not known "
                "here, or were changed."
            )
        return value

    @property
    def patch(self) -> tuple[int, ...]:
        """Cells per axis that the network sees at once."""
        size = self.need("patch_size")
        if len(size) not in (2, 3) or not all(isinstance(n, int) and 0 < n < 2**14 for n in size):
            raise UserError(f"{self.path}: patch_size is {size!r:.60}; it needs 2 or 3 whole numbers.")
        return tuple(size)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Spacing of the grid, in mm along the network's axes."""
        spacing = self.need("spacing")
        right = len(spacing) == len(self.patch) and all(isinstance(s, int | float) and s > 0 for s in spacing)
        if not right:
            raise UserError(
                f"{self.path}: spacing is {spacing!r:.60}; it needs {len(self.patch)} positive numbers, one per axis of patch_size."
            )
        return tuple(map(float, spacing))

    @property
    def previous_stage(self) -> str | None:
        """Of the second stage of a cascade: the configuration of the first."""
        name = self.settings.get("previous_stage")
        if name is None:
            return None
        if not isinstance(name, str) or not CONFIGURATION.fullmatch(name):
            raise UserError(
                f"{self.path}: previous_stage of {self.name!r} is {name!r:.60}; it needs the name of a configuration."
            )
        if len(self.patch) != 3:
            raise UserError(
                f"{self.path}: {self.name!r} is a cascade of slices, which nnU-Net does not have."
            )
        return name

    @property
    def label_resampling(self) -> LabelResampling:
        """How the labels of a first stage are brought to the grid.

        Raises
        ------
        UserError
            If that is none of nnU-Net's ways.
        """
        function = self.settings.get("resampling_fn_seg", RESAMPLES)
        images = self.settings.get("resampling_fn_data", RESAMPLES)
        given = self.settings.get("resampling_fn_seg_kwargs")
        told = {**LABEL_ARGUMENTS, **(given if isinstance(given, dict) else {"is_seg": True, "order": 1})}
        unlike = (function == NOT_RESAMPLED) != (images == NOT_RESAMPLED)
        right = (
            all(name in LABEL_ARGUMENTS for name in told)
            and told["is_seg"] is True
            and told["order"] in range(6)
            and told["order_z"] in range(6)
            and told["force_separate_z"] in (None, True, False)
            and told["separate_z_anisotropy_threshold"] == COARSE
            and (told["mode"], told["aniso_axis_mode"]) == ("linear", "nearest-exact")
        )
        if function not in LABEL_FUNCTIONS or unlike or not right:
            raise UserError(
                f"{self.path}: the first stage's labels are resampled for {self.name!r} by {function!r:.60} with {given!r:.200}, and images by "
                f"{images!r:.60}, which is none of nnU-Net's own ways; open the first stage alone."
            )
        return LabelResampling(
            "torch" if function == BY_TORCH else "splines",
            int(told["order"]),
            int(told["order_z"]),
            told["force_separate_z"],
            bool(told["memefficient_seg_resampling"]),
        )

    @property
    def network(self) -> tuple[str, dict[str, Any]]:
        """Name of the network's class and its arguments, of which some name classes."""
        told = self.settings.get("architecture")
        if told is None:
            return self._old_network()
        name, arguments = (
            told.get(key) if isinstance(told, dict) else None for key in ("network_class_name", "arch_kwargs")
        )
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise UserError(
                f"{self.path}: `architecture` of {self.name!r} names no class with its arguments."
            )
        return name.rpartition(".")[2], dict(arguments)

    def _old_network(self) -> tuple[str, dict[str, Any]]:
        """Return the network as nnU-Net makes it of plans that have no `architecture`."""
        missing = [key for key in OLD_NETWORK if key not in self.settings]
        if missing:
            raise UserError(
                f"{self.path}: the configuration {self.name!r} has neither `architecture` nor `{missing[0]}`; these plans are of a version "
                "of nnU-Net that is not known here."
            )
        name, convolutions = self.need("UNet_class_name", str), self.need("n_conv_per_stage_encoder")
        base, most = self.need("UNet_base_num_features", int), self.need("unet_max_num_features", int)
        dims, stages = len(self.patch), len(convolutions)
        return name, {
            "n_stages": stages,
            "features_per_stage": [min(base * 2 ** min(k, 32), most) for k in range(stages)],
            "conv_op": f"torch.nn.Conv{dims}d",
            "kernel_sizes": self.need("conv_kernel_sizes"),
            "strides": self.need("pool_op_kernel_sizes"),
            "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": convolutions,
            "n_conv_per_stage_decoder": self.need("n_conv_per_stage_decoder"),
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }


def read_plans(path: Path, configuration: str) -> Plans:
    """Read one configuration of plans.json.

    Raises
    ------
    UserError
        If there is none of this name, or the file is not that of a known version.
    """
    facts = json_mapping(path, NNUNET)
    known = facts.get("configurations")
    if not isinstance(known, dict):
        raise UserError(f"{path}: has no `configurations`; it is not a plans.json of nnU-Net 2.")
    order = facts.get("transpose_forward", [0, 1, 2])
    if not isinstance(order, list) or sorted(map(str, order)) != ["0", "1", "2"]:
        raise UserError(
            f"{path}: transpose_forward is {order!r:.60}; it needs the axes 0, 1 and 2 in some order."
        )
    told = facts.get(
        "foreground_intensity_properties_per_channel",
        facts.get("foreground_intensity_properties_by_modality"),
    )
    return Plans(
        path,
        configuration,
        str(facts.get("dataset_name", "nnU-Net")),
        tuple(order),
        str(facts.get("image_reader_writer", "SimpleITKIO")),
        told if isinstance(told, dict) else {},
        _settings(path, known, configuration),
    )


def _settings(path: Path, known: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the keys of a configuration, with those of the ones that it inherits from."""
    chain: list[str] = []
    found: dict[str, Any] = {}
    while True:
        if name in chain:
            raise UserError(
                f"{path}: the configurations {', '.join(chain)} inherit from each other in a circle."
            )
        own = known.get(name)
        if not isinstance(own, dict):
            raise UserError(f"{path}: has no configuration {name!r}; {nearest(name, known)}")
        chain.append(name)
        found = {**own, **found}
        parent = own.get("inherits_from")
        if parent is None:
            return found
        name = str(parent)

"""The parameters of u-noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import option
from napari_segxai.core.paths import user_path
from napari_segxai.engine.masking.baselines import HELP, Baseline
from napari_segxai.methods.noise_network.file import NAME


@dataclass(frozen=True)
class Options:
    """Parameters of u-noise.

    Raises
    ------
    UserError
        If a folder or a file cannot be used, or the noise range is empty.
    """

    folder: str = option(
        "", help="folder of images to train on; empty: the current image, flipped and brightened"
    )
    truth: str = option(
        "", help="folder of label files of the same names; empty: the network's own predictions"
    )
    weights: str = option("", help="file.safetensors to go on from, if it exists, and to save to")
    steps: int = option(
        100, ge=0, help="steps of training, those of the file included; the paper takes thousands"
    )
    batch: int = option(2, ge=1, unit="images", help="images per step; 8 in the paper")
    depth: int = option(2, ge=1, le=5, help="levels of the noise network")
    channels: int = option(8, ge=1, le=1024, help="its channels at the first level; 16 in the paper")
    noise_min: float = option(1.0, ge=0, unit="deviations", help="noise where B is 0")
    noise_max: float = option(5.0, gt=0, unit="deviations", help="noise where B is 1")
    reward: float = option(
        0.001, ge=0, help="weight of noise: a higher one leaves fewer pixels without noise"
    )
    bilateral: float = option(
        0.0, ge=0, le=100, unit="cells", help="width of a bilateral filter over B; 0: none"
    )
    lr: float = option(3e-3, gt=0, advanced=True, help="learning rate of Adam")
    images: int = option(
        40, ge=1, advanced=True, help="largest number of images that are read from the folder"
    )
    baseline: Baseline = option("zero", help=HELP, advanced=True)

    def __post_init__(self) -> None:
        if self.noise_max <= self.noise_min:
            raise UserError(f"{NAME}: noise_max has to be above noise_min ({self.noise_min:g}).")
        if self.truth and not self.folder:
            raise UserError(f"{NAME}: truth needs the folder of the images that it belongs to.")
        for name in ("folder", "truth"):
            value = getattr(self, name)
            if value and not user_path(value).is_dir():
                raise UserError(
                    f"{NAME}: {name} {value!r} is not a folder; give an existing one, or leave it empty."
                )
        if self.weights:
            from napari_segxai.io.saving import check_file

            path = user_path(self.weights)
            if path.suffix != ".safetensors" or not path.parent.is_dir():
                raise UserError(
                    f"{NAME}: weights {self.weights!r} has to be a file ending in .safetensors in an existing folder."
                )
            check_file(path)
        if self.steps == 0 and not (self.weights and user_path(self.weights).exists()):
            raise UserError(
                f"{NAME}: steps 0 needs weights that are trained already; name their file, or train."
            )
        if self.folder and not self.files:
            raise UserError(f"{NAME}: folder {self.folder!r} holds no image.")

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The images of the folder, in order of their names."""
        from napari_segxai.io import PICTURES, VOLUMES, ending

        if not self.folder:
            return ()
        known = set(PICTURES + VOLUMES) - {".img"}  # the other half of .hdr
        found = sorted(p for p in user_path(self.folder).iterdir() if ending(p) in known)
        return tuple(found[: self.images])

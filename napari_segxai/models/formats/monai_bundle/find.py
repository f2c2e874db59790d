"""Which files a path of a MONAI bundle means: its folder, one of its files, or a folder above it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_segxai.core.errors import UserError

CONFIGS, MODELS, METADATA, INFERENCE, TRAIN = "configs", "models", "metadata.json", "inference", "train"

SUFFIXES = (".json", ".yaml", ".yml")

WEIGHTS = (".pt", ".pth", ".ts", ".safetensors")

MOST = 1000
"""So many entries of a folder are looked at."""


@dataclass(frozen=True)
class Bundle:
    """The files of one bundle.

    Attributes
    ----------
    root
        Its folder.
    config
        The file that says how the network is built and used.
    weights
        The file of weights that was named by the user; None where the bundle says which.
    """

    root: Path
    config: Path
    weights: Path | None = None

    @property
    def is_training(self) -> bool:
        """Whether that file is no configuration for inference, but perhaps one of a training."""
        return not self.config.name.startswith(INFERENCE)

    @property
    def metadata(self) -> Path:
        """The file about the network, for people and programs."""
        return self.root / CONFIGS / METADATA

    @property
    def models(self) -> Path:
        """The folder of weights."""
        return self.root / MODELS


def is_bundle(path: Path) -> bool:
    """Tell whether a path is of a MONAI bundle."""
    return bool(_roots(path))


def find(path: Path) -> Bundle:
    """Return what a path means.

    Raises
    ------
    UserError
        If it holds several bundles, or one that does not say how it is used.
    """
    roots = _roots(path)
    if len(roots) > 1:
        names = ", ".join(str(root.relative_to(path)) for root in roots[:8])
        raise UserError(f"{path}: holds {len(roots)} MONAI bundles; name one of them: {names}.")
    root = roots[0]
    if path.is_file() and path.parent.name == CONFIGS and path.name != METADATA:
        return Bundle(root, path)
    found = [root / CONFIGS / f"{name}{suffix}" for name in (INFERENCE, TRAIN) for suffix in SUFFIXES]
    config = next((one for one in found if one.is_file()), None)
    if config is None:
        others = [
            one.name
            for one in _entries(root / CONFIGS)
            if one.suffix in SUFFIXES and one.name != METADATA and one.is_file()
        ]
        hint = f"; it has {', '.join(others[:8])}: name the one that is meant" if others else ""
        raise UserError(
            f"{root}: has no {CONFIGS}/{INFERENCE}.json (or .yaml), which says how a MONAI bundle is used{hint}."
        )
    return Bundle(root, config, path if path.is_file() and path.parent.name == MODELS else None)


def _roots(path: Path) -> list[Path]:
    """Return the folders of bundles that a path may mean."""
    if path.is_file():
        kinds = {CONFIGS: SUFFIXES, MODELS: WEIGHTS}.get(path.parent.name, ())
        return [path.parents[1]] if path.suffix.lower() in kinds and _is_root(path.parents[1]) else []
    if path.name in (CONFIGS, MODELS) and _is_root(path.parent):
        return [path.parent]
    if not path.is_dir():
        return []
    if _is_root(path):
        return [path]
    below = [one for one in _entries(path) if one.is_dir() and not one.name.startswith(".")]
    found = [one for one in below if _is_root(one)]
    return found or [inner for one in below for inner in _entries(one) if inner.is_dir() and _is_root(inner)]


def _is_root(folder: Path) -> bool:
    configs = folder / CONFIGS
    return (configs / METADATA).is_file() or any(
        (configs / f"{INFERENCE}{suffix}").is_file() for suffix in SUFFIXES
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return [one for one, _ in zip(sorted(folder.iterdir()), range(MOST), strict=False)]
    except OSError:
        return []

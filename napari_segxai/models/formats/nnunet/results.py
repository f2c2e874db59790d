"""Which checkpoints a path of nnU-Net's results means: a configuration, one of its folds, or a folder above a configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from napari_segxai.core.errors import UserError

PLANS, DATASET, FINAL = "plans.json", "dataset.json", "checkpoint_final.pth"

OLD_PLANS = "plans.pkl"
"""Of nnU-Net 1."""

FOLD = re.compile(r"fold_(\d+|all)")

TRAINED = re.compile(r"[^_]\S*?__\S+?__\S+")
"""Trainer__Plans__Configuration, nnU-Net's name for the folder of what one configuration has become."""

MOST = 1000
"""So many entries of a folder are looked at."""


@dataclass(frozen=True)
class Results:
    """What is loaded of a folder.

    Attributes
    ----------
    root
        The folder with plans.json and dataset.json.
    checkpoints
        One per fold.
    others
        Names of folds that are left out.
    """

    root: Path
    checkpoints: tuple[Path, ...]
    others: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds, such as "0" and "all"; of a checkpoint in no fold that of the file."""
        return tuple(
            path.stem if path.parent == self.root else path.parent.name.removeprefix("fold_")
            for path in self.checkpoints
        )


def is_results(path: Path) -> bool:
    """Tell whether a path is of nnU-Net's results."""
    return bool(_roots(path))


def find(path: Path) -> Results:
    """Return what a path means.

    A configuration means all its folds 0, 1, ..., whose logits nnU-Net averages, or ``fold_all`` if there is no other; a folder in which
    the final checkpoint lies beside plans and labels, as models are passed on, means that.

    Raises
    ------
    UserError
        If it holds several configurations, no fold, or a fold without a finished checkpoint.
    """
    roots = _roots(path)
    if len(roots) > 1:
        names = ", ".join(str(root.relative_to(path)) for root in roots[:8])
        raise UserError(f"{path}: holds {len(roots)} models of nnU-Net; name one of them: {names}.")
    root = roots[0]
    for name in (PLANS, DATASET):
        if not (root / name).is_file():
            hint = ""
            if name == PLANS and any((one / OLD_PLANS).is_file() for one in (root, root.parent)):
                hint = f" ({OLD_PLANS} is of nnU-Net 1, which is not read)"
            raise UserError(
                f"{root}: has no {name}, which nnU-Net 2 writes beside the folders of its folds{hint}; copy it from where the model was "
                "trained."
            )
    if path.is_file() and path.name != PLANS:
        return Results(root, (path,))
    folds = _folds(root)
    if path != root and FOLD.fullmatch(path.name):
        return Results(root, (_checkpoint(path),))
    numbered = [fold for fold in folds if fold.name != "fold_all"]
    chosen = numbered or folds
    if not chosen and (root / FINAL).is_file():
        return Results(root, (root / FINAL,))
    if not chosen:
        raise UserError(
            f"{root}: has no fold (fold_0, ..., fold_all) with a checkpoint in it; was it trained?"
        )
    left = tuple(fold.name for fold in folds if fold not in chosen)
    return Results(root, tuple(map(_checkpoint, chosen)), left)


def _checkpoint(fold: Path) -> Path:
    """Return the checkpoint of a fold that nnU-Net predicts with."""
    path = fold / FINAL
    if path.is_file():
        return path
    others = sorted(found.name for found in fold.glob("checkpoint_*.pth"))
    if not fold.is_dir():
        raise UserError(f"{fold}: there is no such fold.")
    if others:
        raise UserError(
            f"{fold}: has no {FINAL}, so that its training was not finished; name the file that is meant: {fold / others[0]}."
        )
    raise UserError(f"{fold}: has no {FINAL}; copy it from where the model was trained.")


def _folds(root: Path) -> list[Path]:
    found = [one for one in _entries(root) if FOLD.fullmatch(one.name) and one.is_dir()]
    return sorted(found, key=lambda one: (one.name == "fold_all", len(one.name), one.name))


def _entries(folder: Path) -> list[Path]:
    try:
        return [one for one, _ in zip(sorted(folder.iterdir()), range(MOST), strict=False)]
    except OSError:
        return []


def _roots(path: Path) -> list[Path]:
    """Return the folders of configurations that a path may mean."""
    if path.is_file():
        if path.suffix == ".pth" and FOLD.fullmatch(path.parent.name) and _is_root(path.parents[1]):
            return [path.parents[1]]
        if path.suffix == ".pth" and _is_whole(path.parent):
            return [path.parent]
        known = _is_root(path.parent) or _is_whole(path.parent)
        return [path.parent] if path.name == PLANS and known else []
    if FOLD.fullmatch(path.name) and _is_root(path.parent):
        return [path.parent]
    if not path.is_dir():
        return []
    if _is_root(path) or _is_whole(path):
        return [path]
    below = [one for one in _entries(path) if one.is_dir()]
    found = [one for one in below if _is_root(one)]
    if found or path.name.startswith("."):
        return found
    datasets = [one for one in below if re.match(r"Dataset\d", one.name)]
    return [inner for one in datasets for inner in _entries(one) if inner.is_dir() and _is_root(inner)]


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (PLANS, DATASET))


def _is_root(folder: Path) -> bool:
    """Tell whether a folder is one of a configuration, be it incomplete; predictions have plans.json, too, but no folds."""
    named = TRAINED.fullmatch(folder.name) is not None
    beside = [(folder / name).is_file() for name in (PLANS, DATASET, OLD_PLANS)]
    return ((named or any(beside)) and bool(_folds(folder))) or (named and beside[0])

"""Train the small nnU-Net folders of tests/data/nnunet with nnU-Net's own code, and freeze what its predictor makes of a case.

Needs an environment of its own with nnunetv2 (2.8.1), never the project's; takes some minutes on two cores:

    python scripts/make_nnunet_folders.py tests/data/nnunet

Four data sets of synthetic spheres: `ct` (one channel, the file's first axis coarse, so that nnU-Net transposes it and resamples it
apart; plain U-Net, 3d_fullres), `regions` (two channels with nothing around them, nested regions, residual encoder, 3d_fullres),
`slices` (2d, two folds) and `cascade` (3d_lowres and 3d_cascade_fullres; what the first stage predicts of the case is frozen, too). A folder holds nnU-Net's results as it writes them, without its logs, and ``frozen/``: the case, and
what `nnUNetPredictor` made of it: `input`, `logits` as it adds them up (float16), `logits_float32`, and `labels`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

CASES = 6

STRETCHED = (1.3, 1.1, 0.9)
"""By which the pixels of the case that is predicted differ from those of the others, so that all its axes are resampled."""

DATA: dict[str, dict[str, Any]] = {
    "ct": {
        "number": 901,
        "channels": ["CT"],
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "shape": (10, 38, 34),
        "spacing": (4.0, 0.8, 1.0),
        "planner": "ExperimentPlanner",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "patch": [6, 32, 24],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "folds": [0],
    },
    "regions": {
        "number": 902,
        "channels": ["T1", "T2"],
        "labels": {"background": 0, "whole": [1, 2], "core": 2},
        "regions_class_order": [1, 2],
        "shape": (26, 28, 24),
        "spacing": (1.0, 1.0, 1.25),
        "planner": "nnUNetPlannerResEncM",
        "plans": "nnUNetResEncUNetMPlans",
        "configuration": "3d_fullres",
        "patch": [16, 20, 16],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "kernels": [[3, 3, 3]] * 3,
        "folds": ["all"],
    },
    "slices": {
        "number": 903,
        "channels": ["MR"],
        "labels": {"background": 0, "organ": 1},
        "shape": (34, 30, 9),
        "spacing": (1.0, 1.1, 2.0),
        "planner": "ExperimentPlanner",
        "plans": "nnUNetPlans",
        "configuration": "2d",
        "patch": [24, 32],
        "strides": [[1, 1], [2, 2], [2, 2]],
        "kernels": [[3, 3]] * 3,
        "folds": [0, 1],
    },
    "cascade": {
        "number": 904,
        "channels": ["T1"],
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "shape": (26, 30, 24),
        "spacing": (1.0, 1.0, 1.25),
        "planner": "ExperimentPlanner",
        "plans": "nnUNetPlans",
        "configuration": "3d_cascade_fullres",
        "first": "3d_lowres",
        "coarser": 1.7,
        "patch": [16, 20, 16],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "kernels": [[3, 3, 3]] * 3,
        "folds": ["all"],
    },
}

FULL = "3d_fullres"
"""The configuration from which both stages of a cascade inherit."""


def sphere(shape: Sequence[int], spacing: Sequence[float], at: Sequence[float], radius: float) -> np.ndarray:
    """Return where a sphere is, in mm from the corner."""
    grid = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    return sum((axis - place) ** 2 for axis, place in zip(grid, at, strict=True)) < radius**2


def make_case(
    about: dict[str, Any], seed: int, *, stretched: bool
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the channels, the labels and the spacing of one case, along the file's axes."""
    random = np.random.default_rng(seed)
    shape = tuple(int(n + random.integers(-2, 3)) for n in about["shape"])
    around = STRETCHED if stretched else random.uniform(0.95, 1.05, 3)
    spacing = np.round(np.array(about["spacing"]) * around, 3).astype(np.float32).astype(float)
    size = np.array(shape) * spacing
    organ = sphere(shape, spacing, size * random.uniform(0.42, 0.58, 3), 0.32 * size.min())
    lesion = sphere(shape, spacing, size * random.uniform(0.45, 0.55, 3), 0.24 * size.min()) & organ
    labels = organ.astype(np.uint8)
    if len(about["labels"]) > 2:
        labels[lesion] = 2
    levels = {
        "CT": ((-900, 60, 180), 20),
        "T1": ((300, 500, 700), 40),
        "T2": ((80, 200, 120), 20),
        "MR": ((50, 90, 90), 10),
    }
    channels = []
    for name in about["channels"]:
        values, noise = levels[name]
        image = np.array(values, np.float32)[labels] + random.normal(0, noise, shape).astype(np.float32)
        if name in ("T1", "T2"):  # a head with nothing around it
            image[~sphere(shape, spacing, size / 2, 0.47 * size.min())] = 0
        channels.append(np.rint(image).astype(np.int16))
    return channels, labels, spacing


def write_raw(folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write nnU-Net's raw data; return the files of one more case, which is not trained on."""
    import SimpleITK as sitk

    def save(array: np.ndarray, spacing: np.ndarray, path: Path) -> Path:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing(spacing.tolist())
        image.SetOrigin((-31.0, 12.5, 4.0))
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path), True)
        return path

    test: list[Path] = []
    for k in range(CASES + 1):
        channels, labels, spacing = make_case(about, 1000 * about["number"] + k, stretched=k == CASES)
        part = "Tr" if k < CASES else "Ts"
        files = [
            save(image, spacing, folder / f"images{part}" / f"case_{k}_{c:04d}.nii.gz")
            for c, image in enumerate(channels)
        ]
        truth = save(labels, spacing, folder / f"labels{part}" / f"case_{k}.nii.gz")
        if part == "Ts":
            test = [*files, truth]
    facts = {
        "channel_names": {str(k): name for k, name in enumerate(about["channels"])},
        "labels": about["labels"],
        "numTraining": CASES,
        "file_ending": ".nii.gz",
    }
    if "regions_class_order" in about:
        facts["regions_class_order"] = about["regions_class_order"]
    (folder / "dataset.json").write_text(json.dumps(facts, indent=1))
    return test


def plan(about: dict[str, Any], preprocessed: Path) -> None:
    """Let nnU-Net plan and preprocess; make the network small."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    number = about["number"]
    api.extract_fingerprints([number], num_processes=1, show_progress_bar=False, verbose=False)
    api.plan_experiments([number], about["planner"])
    path = preprocessed / f"{about['plans']}.json"
    plans = json.loads(path.read_text())
    cascaded = "first" in about
    name = FULL if cascaded else about["configuration"]
    own = plans["configurations"][name]
    own["patch_size"], own["batch_size"] = about["patch"], 2
    arguments = own["architecture"]["arch_kwargs"]
    stages = len(about["strides"])
    arguments |= {"n_stages": stages, "strides": about["strides"], "kernel_sizes": about["kernels"]}
    arguments["features_per_stage"] = [4, 8, 16][:stages]
    blocks = "n_blocks_per_stage" if "n_blocks_per_stage" in arguments else "n_conv_per_stage"
    arguments[blocks] = [1, 2, 2][:stages] if blocks == "n_blocks_per_stage" else [2] * stages
    arguments["n_conv_per_stage_decoder"] = arguments["n_conv_per_stage_decoder"][: stages - 1]
    plans["configurations"] = {name: own}
    if cascaded:
        first, second = about["first"], about["configuration"]
        plans["configurations"] |= {
            first: {
                "inherits_from": FULL,
                "data_identifier": f"{about['plans']}_{first}",
                "spacing": [about["coarser"] * length for length in own["spacing"]],
                "next_stage": second,
            },
            second: {"inherits_from": FULL, "previous_stage": first},
        }
    path.write_text(json.dumps(plans, indent=1))
    names = [name, about["first"]] if cascaded else [name]
    api.preprocess([number], about["plans"], names, [1] * len(names), verbose=False, show_progress_bar=False)


def train(about: dict[str, Any], preprocessed: Path, fold: int | str, configuration: str) -> Path:
    """Train one fold for a moment; return the folder of the configuration. A first stage predicts its cases for the second."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    os.environ |= {"nnUNet_n_proc_DA": "0"}  # in this process
    plans = json.loads((preprocessed / f"{about['plans']}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((preprocessed / "dataset.json").read_text())
    torch.manual_seed(0)
    trainer = nnUNetTrainer(plans, configuration, fold, dataset, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 6, 50, 1
    trainer.initial_lr = 0.03
    trainer.run_training()
    if configuration == about.get("first"):
        trainer.perform_actual_validation()
    return Path(trainer.output_folder_base)


def predict_first(root: Path, files: Sequence[Path], about: dict[str, Any], out: Path) -> None:
    """Write what a first stage predicts of a case, as nnU-Net does."""
    import nnunetv2.inference.predict_from_raw_data as predicting
    import torch

    predictor = predicting.nnUNetPredictor(
        device=torch.device("cpu"), allow_tqdm=False, perform_everything_on_device=False
    )
    predictor.initialize_from_trained_model_folder(str(root), tuple(about["folds"]))
    with tempfile.TemporaryDirectory() as folder:  # it also gets copies of plans.json and the like
        case = Path(folder) / "case"
        predictor.predict_from_files_sequential([[str(path) for path in files]], [str(case)])
        shutil.copy(next(case.parent.glob("case.*")), out)


def freeze(
    root: Path, files: Sequence[Path], about: dict[str, Any], first: Path | None
) -> dict[str, np.ndarray]:
    """Return what nnU-Net's predictor makes of a case: adding up in half precision, as it does, and in single.

    `first` is what the first stage of a cascade predicted of it.
    """
    import nnunetv2.inference.predict_from_raw_data as predicting
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape,
    )
    from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot

    predictor = predicting.nnUNetPredictor(
        device=torch.device("cpu"), allow_tqdm=False, perform_everything_on_device=False
    )
    predictor.initialize_from_trained_model_folder(str(root), tuple(about["folds"]))
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, seen, facts = preprocessor.run_case(
        [str(path) for path in files],
        None if first is None else str(first),
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.dataset_json,
    )
    if first is not None:
        each = predictor.label_manager.foreground_labels
        data = np.vstack((data, convert_labelmap_to_one_hot(seen[0], each, data.dtype)))
    tensor = torch.from_numpy(np.ascontiguousarray(data)).float()
    logits = predictor.predict_logits_from_preprocessed_data(tensor).numpy()
    own, gaussian = predicting.torch, predicting.compute_gaussian
    single = SimpleNamespace(**{name: getattr(own, name) for name in dir(own)})
    single.half = own.float32
    try:
        predicting.torch = single
        predicting.compute_gaussian = lambda *args, **kwargs: gaussian(
            *args, **{**kwargs, "dtype": own.float32}
        )
        exact = predictor.predict_logits_from_preprocessed_data(tensor).numpy()
    finally:
        predicting.torch, predicting.compute_gaussian = own, gaussian

    def labels(found: np.ndarray) -> np.ndarray:
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            torch.from_numpy(found),
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.label_manager,
            dict(facts),
        ).astype(np.uint8)

    return {
        "input": tensor.numpy(),
        "logits": logits,
        "logits_float32": exact,
        "labels": labels(logits),
        "labels_float32": labels(exact),
    }


def main(out: Path, names: Sequence[str]) -> None:
    """Make the folders."""
    work = Path(tempfile.mkdtemp(prefix="nnunet_"))
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
    os.environ |= {"nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
    for name in names:
        about = DATA[name]
        dataset = f"Dataset{about['number']}_{name.capitalize()}"
        test = write_raw(work / "raw" / dataset, about)
        os.environ |= {"nnUNet_n_proc_DA": "1"}
        plan(about, work / "preprocessed" / dataset)
        into = out / dataset
        shutil.rmtree(into, ignore_errors=True)
        (into / "frozen").mkdir(parents=True)
        first = into / "frozen" / "first_stage.nii.gz" if "first" in about else None
        roots = []
        for configuration in filter(None, (about.get("first"), about["configuration"])):
            for fold in about["folds"]:
                root = train(about, work / "preprocessed" / dataset, fold, configuration)
            roots.append(root)
            if configuration == about.get("first"):
                predict_first(root, test[:-1], about, first)
        frozen = freeze(root, test[:-1], about, first)
        for root in roots:
            for path in [
                root / "plans.json",
                root / "dataset.json",
                *sorted(root.glob("fold_*/checkpoint_final.pth")),
            ]:
                place = into / root.name / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        for path in test:
            shutil.copy(
                path,
                into / "frozen" / path.name.replace(f"case_{CASES}", "truth" if path == test[-1] else "case"),
            )
        np.savez_compressed(into / "frozen" / "predictor.npz", **frozen)
        found = {key: (value.shape, str(value.dtype)) for key, value in frozen.items()}
        print(name, found, "labels", np.unique(frozen["labels"]), flush=True)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(DATA))

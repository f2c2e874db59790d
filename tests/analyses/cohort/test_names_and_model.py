"""Channels and labels that have the names of the model's in another order are not taken for each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.networks import card
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.cohort.plan import CohortPlan


@pytest.fixture
def model() -> sx.SegmentationModel:
    names = {"channels": ["T1", "FLAIR"], "labels": ["background", "liver", "tumour"]}
    return sx.load_model(nn.Conv2d(2, 3, 1), card=card(**names))


def raw_data(folder: Path, labels: dict, channels: tuple[str, ...] = ("T1", "FLAIR")) -> Path:
    names = [f"imagesTr/a_{k:04d}.nii.gz" for k in range(len(channels))]
    for name in [*names, "labelsTr/a.nii.gz"]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    facts = {"channel_names": dict(enumerate(channels)), "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "Tumour": 1, "liver": 2},
        {"0": "background", "1": "Tumour", "2": "liver"},
        {"background": 0, "organ": [1, 2], "Tumour": 1},
    ],
)
def test_labels_in_another_order(model, tmp_path, labels):
    cases = sx.find_cases(raw_data(tmp_path, labels))
    with pytest.raises(sx.UserError, match="its truths call 1 'Tumour', which is label 2 of"):
        CohortPlan.make(model, cases, ["liver"], ["vanilla-gradient"])
    (tmp_path / "labelsTr" / "a.nii.gz").unlink()  # without truths nothing can be taken for another
    CohortPlan.make(model, sx.find_cases(tmp_path), ["liver"], ["vanilla-gradient"])


def test_labels_that_fit_or_have_names_of_their_own(model, tmp_path):
    for labels in (
        {"background": 0, "Liver": 1, "tumour": 2},
        {"Hintergrund": 0, "Leber": 1},
        {"background": "0"},
    ):
        CohortPlan.make(model, sx.find_cases(raw_data(tmp_path, labels)), ["liver"], ["vanilla-gradient"])


@pytest.mark.parametrize("channels", [("FLAIR", "T1"), ("T1", "T2", "flair")])
def test_channels_in_another_order(model, tmp_path, channels):
    folder = raw_data(tmp_path, {}, channels)
    with pytest.raises(sx.UserError, match="planted takes T1, FLAIR, in this order; name them so"):
        CohortPlan.make(model, sx.find_cases(folder), ["liver"], ["vanilla-gradient"])
    cases = sx.find_cases(folder, channels=["T1", "FLAIR"])
    CohortPlan.make(model, cases, ["liver"], ["vanilla-gradient"])


def test_one_of_the_model_s_channels_alone_is_told_before_the_work(model, tmp_path):
    """Of BIDS one contrast is taken where none is named: the other is asked for, of cohorts and of surveys."""
    for k in range(5):
        folder = tmp_path / f"sub-{k}" / "anat"
        folder.mkdir(parents=True)
        for word in ("T1", "FLAIR"):
            (folder / f"sub-{k}_{word}.nii.gz").touch()
    words = (
        r"taken to be (T1|FLAIR) alone, but planted takes T1, FLAIR; name them all \(--channels T1,FLAIR\)"
    )
    with pytest.raises(sx.UserError, match=words):
        CohortPlan.make(model, sx.find_cases(tmp_path), ["liver"], ["vanilla-gradient"])
    with pytest.raises(sx.UserError, match=words):
        sx.plan_survey(model, tmp_path, "channel-importance")
    cases = sx.find_cases(tmp_path, channels=["T1", "FLAIR"])
    CohortPlan.make(model, cases, ["liver"], ["vanilla-gradient"])

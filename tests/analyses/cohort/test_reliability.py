"""Reliability on tables whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.cohorts import MODEL, cohort
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import napari_segxai as sx
from napari_segxai.analyses.cohort import classifier
from napari_segxai.analyses.cohort.statistics import Pairs, calibration, risk_coverage, roc, wilson
from napari_segxai.analyses.cohort.studies import reliability
from napari_segxai.analyses.cohort.uncertainty import explained_uncertainty
from napari_segxai.core.correlation import rank_correlations
from napari_segxai.metrics.functional.bootstrap import drawn

QUICK = {"repeats": 2}


def table(dice, confidence, ratio, per_subject: int = 1, **record) -> sx.Cohort:
    """Return a cohort whose ratio is the number of the explanation that may tell something."""
    n = len(dice)
    random = np.random.default_rng(7)
    objects = [
        {
            "case": f"c{k}", "subject": f"s{k // per_subject}", "size_px": int(random.integers(100, 200)), "confidence": float(confidence[k]),
            "entropy_bits": float(random.random()), "truth_dice": None if dice[k] is None else float(dice[k]),
        }
        for k in range(n)
    ]  # fmt: skip
    maps = [
        {
            "case": f"c{k}", "subject": f"s{k // per_subject}", "n_dilations": 3, "ratio_image": float(ratio[k]),
            "dice_explained": float(random.random()),
        }
        for k in range(n)
    ]  # fmt: skip
    return cohort(maps, objects, **record)


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def dice() -> np.ndarray:
    return np.random.default_rng(1).uniform(0.8, 1, 120)


def by_features(found: sx.StudyResult, table: str | None = None) -> dict[str, dict]:
    return {row["features"]: row for row in (found.tables[table] if table else found.rows)}


def test_an_explanation_that_decides(dice):
    """The ratio is the Dice itself; the confidence is noise."""
    noise = np.random.default_rng(3).random(120)
    found = sx.study(table(dice, noise, -dice), "reliability", **QUICK)
    rows = by_features(found)
    assert rows["explanation"]["auc"] > 0.99
    assert rows["explanation"]["accuracy"] > 0.9
    assert rows["majority"]["auc"] == 0.5
    assert abs(rows["confidence"]["auc"] - 0.5) < 0.15
    (difference,) = (row for row in found.tables["differences"] if row["against"] == "size + confidence")
    assert difference["low"] > 0.2
    assert "of organ it adds to size and confidence" in found.sentence
    assert any("n_dilations of organ is the same for all objects" in caveat for caveat in found.caveats)
    assert rows["explanation"]["risk_coverage"] < rows["confidence"]["risk_coverage"]
    assert rows["majority"]["risk_coverage"] == pytest.approx((1 - dice).mean())
    assert [row["told_by"] for row in found.tables["uncertainty"]] == ["size"]  # these tables know no place


def test_an_explanation_that_carries_nothing(dice):
    """The confidence is the Dice, with noise; the ratio is noise."""
    random = np.random.default_rng(5)
    found = sx.study(
        table(dice, dice + random.normal(0, 0.02, 120), random.random(120)), "reliability", **QUICK
    )
    rows = by_features(found)
    assert rows["size + confidence"]["auc"] > 0.9
    (difference,) = (row for row in found.tables["differences"] if row["against"] == "size + confidence")
    assert difference["low"] <= 0 <= difference["high"]
    assert "adds nothing to size and confidence, as far as this cohort tells" in found.sentence


def test_what_uncertainty_comes_from():
    """Entropy that follows from the size alone; two objects of a subject lie on one side."""
    random = np.random.default_rng(2)
    sizes = random.integers(50, 5000, 80)
    rows = [
        {"subject": f"s{k // 2}", "size_px": int(size), "touches_border": bool(random.random() > 0.5),
         "entropy_bits": 1 - 0.1 * np.log1p(size)}
        for k, size in enumerate(sizes)
    ]  # fmt: skip
    found = {row["told_by"]: row for row in explained_uncertainty("organ", rows, 5, random)}
    assert found["size"]["r2"] == pytest.approx(1)
    assert found["size"]["slope"] == pytest.approx(-1)
    assert found["size + place"]["r2"] == pytest.approx(1)
    assert found["place"]["low"] < 0.1
    assert found["place"]["r2"] < 0.1
    noise = [{**row, "entropy_bits": random.random()} for row in rows]
    assert all(row["r2"] < 0.1 for row in explained_uncertainty("organ", noise, 5, random))
    same = [{**row, "touches_border": False} for row in rows]
    assert [row["told_by"] for row in explained_uncertainty("organ", same, 5, random)] == ["size"]
    assert explained_uncertainty("organ", rows[:20], 5, random) == []


def test_shuffled_truth(dice):
    areas = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        found = sx.study(
            table(random.permutation(dice), dice, -dice), "reliability", seed=seed, repeats=1, folds=3
        )
        areas += [row["auc"] for row in found.rows]
    assert abs(np.mean(areas) - 0.5) < 0.06


def test_no_subject_lies_on_both_sides(dice):
    """Two objects of a subject look alike and nobody else does: what is learnt of one would give the other away."""
    subjects = np.repeat([f"s{k}" for k in range(30)], 4)
    is_good = np.random.default_rng(2).random(120) > 0.6
    folds = classifier.make_folds(is_good, subjects, 5, 10, np.random.default_rng(0))
    assert folds.shape == (10, 120)
    for fold in folds:
        assert all(len(set(fold[subjects == name])) == 1 for name in set(subjects))
        assert set(fold) == set(range(5))
    assert len({tuple(fold) for fold in folds}) > 1


def test_the_same_as_scikit_learn(dice):
    found = table(dice, dice, -dice + np.random.default_rng(0).normal(0, 0.1, 120))
    rows = [{**m, **o} for m, o in zip(found.maps, found.objects, strict=True)]
    is_good = dice > 0.9
    features = ("n_dilations", "dice_explained", "ratio_image")
    x = np.array([[row[name] for name in features] for row in rows])
    folds = classifier.make_folds(is_good, [row["subject"] for row in rows], 4, 2, np.random.default_rng(1))
    p = classifier.held_out(rows, features, is_good, folds)
    areas, weights = [], []
    for own, fold in zip(p, folds, strict=True):
        for k in range(4):
            test = fold == k
            model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[~test], is_good[~test])
            np.testing.assert_allclose(own[test], model.predict_proba(x[test])[:, 1], atol=1e-6)
            areas.append(roc_auc_score(is_good[test], own[test]))
            weights.append(is_good[test].sum() * (~is_good[test]).sum())
    assert Pairs.of(p, is_good, folds).area()[0] == pytest.approx(np.average(areas, weights=weights))
    one = classifier.fit(rows, features, is_good)
    whole = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, is_good)
    np.testing.assert_allclose(one.probability(rows), whole.predict_proba(x)[:, 1], atol=1e-9)
    assert one.coefficients[0] == 0  # of what is constant


def test_weighted_areas_are_those_of_repeated_objects(random):
    scores, is_good = random.integers(0, 5, 40).astype(float), random.random(40) > 0.5
    weights = drawn([f"s{k // 2}" for k in range(40)], random, draws=20)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights.sum(1) == 40).all()
    for own, area in zip(weights, Pairs.of(scores[None], is_good).area(weights), strict=True):
        chosen = np.repeat(np.arange(40), own.astype(int))
        assert area == pytest.approx(roc_auc_score(is_good[chosen], scores[chosen]))


def test_weighted_rank_correlations_are_those_of_repeated_objects(random):
    x, y = random.integers(0, 9, 30).astype(float), random.normal(size=30)
    weights = drawn([f"s{k}" for k in range(30)], random, draws=20)
    for own, found in zip(weights, rank_correlations(x, y, weights), strict=True):
        chosen = np.repeat(np.arange(30), own.astype(int))
        assert found == pytest.approx(spearmanr(x[chosen], y[chosen])[0])
    assert np.isnan(rank_correlations(np.ones(30), y, weights)).all()


def test_curves_in_closed_form(random):
    coverage, risk = risk_coverage(np.array([0.9, 0.5, 0.5, 0.1]), np.array([0, 0.2, 0.4, 1.0]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(risk, [0, 0.15, 0.2, 0.4])
    scores, is_good = random.integers(0, 6, 50).astype(float), random.random(50) > 0.4
    false, true = roc(scores, is_good)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(is_good, scores))
    (low, high), many = wilson(8, 10), wilson(0, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson 1927
    assert many[0] == pytest.approx(0)
    bins = calibration(np.linspace(0, 1, 50), np.arange(50) >= 25, 5)
    assert [row["share"] for row in bins] == [0, 0, 0.5, 1, 1]
    assert sum(row["n"] for row in bins) == 50


def test_too_few_are_refused(dice):
    noise = np.random.default_rng(3).random(120)
    with pytest.raises(sx.UserError, match="organ has 29 objects with truth and all numbers"):
        sx.study(table(dice[:29], noise, noise), "reliability")
    with pytest.raises(sx.UserError, match=r"0 of them good \(Dice above 0.9\); 30 with 10 of each kind"):
        sx.study(table(dice * 0.5, noise, noise), "reliability")
    with pytest.raises(sx.UserError, match="known of 4 subjects; 5 folds need as many"):
        sx.study(table(dice, noise, noise, per_subject=30), "reliability")
    with pytest.raises(sx.UserError, match="no map of results has all of context-share for any object"):
        sx.study(table(dice, noise, noise), "reliability", features="context-share")
    with pytest.raises(sx.UserError, match="has no map 'rise'; known are 'misure'"):
        sx.study(table(dice, noise, noise), "reliability", map="rise")


def test_every_object_has_a_probability(dice):
    known = [None if k < 20 else value for k, value in enumerate(dice)]
    held = table(known, dice, -dice)
    held.maps[30]["ratio_image"] = None
    found = sx.study(held, "reliability", **QUICK)
    rows = {row["case"]: row for row in found.tables["objects"]}
    assert len(rows) == 119
    assert "1 of 120 objects of organ lack a number" in " ".join(found.caveats)
    assert rows["c0"]["good"] is None
    assert rows["c0"]["how"] == "fitted on the others"
    for k in range(20):  # their truth was not seen, and the ratio tells it
        assert (rows[f"c{k}"]["probability (explanation)"] > 0.5) == (dice[k] > 0.9) or abs(
            dice[k] - 0.9
        ) < 0.02
    assert found.rows[0]["n"] == 99
    assert {chart.kind for chart in found.charts} == {"lines", "points"}
    for chart in found.charts:
        json.dumps(chart.as_json())


def test_applied_to_another_cohort(dice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = sx.study(table(dice, dice, -dice), "reliability", save="c.json", **QUICK)
    told = json.loads((tmp_path / "c.json").read_text())
    assert told["model"] == MODEL
    assert set(told["labels"]["organ"]) == set(reliability.KEPT)
    again = sx.study(table(dice, dice, -dice), "reliability", apply="c.json")
    assert by_features(again)["explanation"]["auc"] == pytest.approx(1)
    assert len(again.tables["objects"]) == 120
    assert {row["how"] for row in again.tables["objects"]} == {"fitted on another cohort"}
    assert again.sentence.startswith(
        f"{by_features(again)[reliability.ALL]['called_good']} of 120 objects of organ"
    )
    without = sx.study(table([None] * 5, dice[:5], -dice[:5]), "reliability", apply="c.json")
    assert by_features(without)["explanation"]["auc"] is None
    assert "against" not in without.sentence
    assert not without.charts
    assert first.name == again.name
    other = {**MODEL, "sha256": "b" * 64}
    with pytest.raises(sx.UserError, match=r"network with other weights \(net\)"):
        sx.study(table(dice, dice, -dice, model=other), "reliability", apply="c.json")
    more = {"misure": {"method": "misure", "parameters": {"iterations": 100}}}
    with pytest.raises(sx.UserError, match="fitted on maps of misure with other parameters"):
        sx.study(table(dice, dice, -dice, methods=more), "reliability", apply="c.json")
    with pytest.raises(sx.UserError, match="give either save or apply"):
        sx.study(table(dice, dice, -dice), "reliability", apply="c.json", save="d.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update(kind="cohort"), "holds no reliability classifier"),
        (lambda told: told.update(schema=99), "written by another version"),
        (lambda told: told["labels"]["organ"]["explanation"].update(scale=[1.0]), "one mean, scale and coefficient"),
        (lambda told: told["labels"]["organ"]["explanation"].update(scale=[0.0, 1.0, 1.0]), "scale.0"),
        (lambda told: told.update(labels={}), "labels"),
        (lambda told: told["model"].update(sha256="x"), "model.sha256"),
    ],
)  # fmt: skip
def test_files_of_strangers(dice, tmp_path, change, words):
    names, path = ["n_dilations", "dice_explained", "ratio_image"], tmp_path / "c.json"
    one = {
        "features": names,
        "mean": [0.0] * 3,
        "scale": [1.0] * 3,
        "coefficients": [1.0] * 3,
        "intercept": 0.0,
    }
    told = {
        "kind": "reliability classifier", "schema": 1, "created": "", "versions": {}, "model": dict(MODEL), "map": "misure", "method": "misure",
        "parameters": {"iterations": 5}, "good": 0.9, "labels": {"organ": {"explanation": one}},
    }  # fmt: skip
    path.write_text(json.dumps(told))
    assert sx.study(table(dice, dice, -dice), "reliability", apply=str(path)).rows[0]["n"] == 120
    change(told)
    path.write_text(json.dumps(told))
    with pytest.raises(sx.UserError, match=words):
        sx.study(table(dice, dice, -dice), "reliability", apply=str(path))
    path.write_text("no json")
    with pytest.raises(sx.UserError, match="cannot be read"):
        sx.study(table(dice, dice, -dice), "reliability", apply=str(path))


def test_without_scikit_learn(dice, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.model_selection", None)
    with pytest.raises(sx.UserError, match=r'pip install "napari-segxai\[cohort\]"'):
        sx.study(table(dice, dice, -dice), "reliability")

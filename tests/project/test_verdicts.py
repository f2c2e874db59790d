"""Verdicts of the reproduction: what the images do not tell is not told."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def scripts():
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(ROOT / "reproduction"))
    yield {
        name: importlib.import_module(name)
        for name in ("intervals", "summary", "trends.cohorts", "trends.networks", "common")
    }
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if str(ROOT / "reproduction") in str(getattr(sys.modules[name], "__file__", "")):
            sys.modules.pop(name, None)


def rows(*values, dataset="triangle"):
    return [{"dataset": dataset, "case": f"{dataset} {k}", "value": value} for k, value in enumerate(values)]


@pytest.fixture
def settle(scripts):
    """Whether the mean of the values is above 0, as a verdict."""
    Verdict = scripts["summary"].Verdict

    def rules(some):
        mean = sum(row["value"] for row in some) / len(some)
        return [Verdict("key", "claim", "rule", "triangle", mean > 0, "numbers")]

    return lambda some: scripts["intervals"].settled(rules, some)[0]


def test_a_rule_is_told_where_drawn_samples_agree(settle):
    assert settle(rows(*[1.0, 1.1, 0.9, 1.2, 0.8, 1.0])).holds is True
    assert settle(rows(*[-1.0, -1.1, -0.9, -1.2, -0.8, -1.0])).holds is False
    torn = settle(rows(*[9.0, -1.0, -1.0, -1.0, -1.0, -1.0]))
    assert torn.holds is None
    assert "of samples" in torn.why


def test_one_image_tells_nothing_of_others(settle):
    one = settle(rows(5.0))
    assert (one.holds, one.why) == (None, "1 image")
    blocks = [
        {"dataset": "tissue", "case": f"block 0 {label}", "value": 1.0}
        for label in ("grey", "white", "csf", "other", "skull", "air")
    ]
    assert settle(blocks).holds is None  # six objects of one image
    assert settle(rows(*[1.0] * 6)).holds is True


def size_row(found, low, high, subjects=20, number="n_dilations"):
    return {
        "label": "triangle", "number": number, "rank_correlation": found, "low": low, "high": high,
        "n": subjects, "subjects": subjects,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "found", "wanted"),
    [
        ("triangle", (0.0, -0.2, 0.2), True),  # constant
        ("triangle", (0.6, 0.4, 0.8), False),
        ("triangle", (0.2, -0.1, 0.5), None),
        ("triangle", (None, None, None), True),
        ("tissue", (-0.5, -0.8, -0.2), True),  # falling
        ("tissue", (0.5, 0.2, 0.8), False),
        ("tissue", (-0.1, -0.4, 0.2), None),
        ("tissue", (None, None, None), False),
    ],
)
def test_trends_with_size_are_decided_by_their_intervals(scripts, dataset, found, wanted):
    told = {dataset: {"studies": {"size": {"rows": [size_row(*found)]}, "reliability": {"rows": []}}}}
    [verdict] = scripts["trends.cohorts"].verdicts(told)
    assert verdict.holds is wanted
    few = {
        dataset: {"studies": {"size": {"rows": [size_row(*found, subjects=2)]}, "reliability": {"rows": []}}}
    }
    assert scripts["trends.cohorts"].verdicts(few)[0].holds is None


def test_a_kind_of_network_needs_three_trainings_that_agree(scripts):
    Verdict = scripts["summary"].Verdict

    def found(*holds):
        return {
            (f"vgg-{k}", "bottleneck"): [Verdict("key", "claim", "rule", "triangle", one, "")]
            for k, one in enumerate(holds)
        }

    def kind(*holds):
        return scripts["trends.networks"].of_kinds(found(*holds))["vgg", "bottleneck"]["key"]

    assert kind(True, True, True) == (True, 3)
    assert kind(True, True) == (None, 2)
    assert kind(True, False, True) == (None, 3)
    assert kind(True, None, True) == (None, 2)


def test_results_of_other_code_are_used_only_when_asked_for(scripts, tmp_path):
    common = scripts["common"]
    case = next(iter(common.cases(common.Settings(datasets=("triangle",), images=1))))
    made = lambda value: lambda: [{"value": value}]
    common.Store(tmp_path, say=str).rows("one", case, {}, made(1))
    text = (tmp_path / "one.json").read_text()
    (tmp_path / "one.json").write_text(text.replace(common._code(), "earlier"))
    old = common.Store(tmp_path, old=True, say=str)
    assert old.rows("one", case, {}, made(2), shown=True)[0]["value"] == 1
    assert (old.other_code, old.computed) == (1, 0)
    assert common.Store(tmp_path, say=str).rows("one", case, {}, made(2))[0]["value"] == 2

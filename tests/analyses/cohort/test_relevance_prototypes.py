"""Prototypes of relevances: planted ways of deciding, a case between them, and the shares of a network that is known."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from helpers.cohorts import cohort
from helpers.networks import card
from helpers.relevance import BrightOrDark

import napari_segxai as sx
from napari_segxai.analyses.cohort.relevance_prototypes import fitted, surprise, vectors_of

N = 40


def decided(shares: np.ndarray, bad: tuple[int, ...] = ()) -> sx.Cohort:
    """Return a cohort whose cases give these shares (cases, channels) to the channels of a layer; all other numbers say nothing."""
    random = np.random.default_rng(1)
    who = [{"case": f"c{k}", "subject": f"s{k}"} for k in range(len(shares))]
    maps = [{**one, "ratio_image": random.normal(1, 0.1)} for one in who]
    objects = [
        {**one, "size_px": random.normal(500, 30), "confidence": random.uniform(0.8, 1), "truth_dice": 0.5 if k in bad else 0.95}
        for k, one in enumerate(who)
    ]  # fmt: skip
    held = cohort(maps, objects)
    about = {"group": "", "label": "organ", "error": "", "how": "relevance", "layer": "decoder2"}
    held.channels.extend(
        {**about, **who[k], "channel": str(c), "relevance": float(value)}
        for k, row in enumerate(shares)
        for c, value in enumerate(row)
    )
    return held


def two_ways(random: np.random.Generator, n: int = N) -> np.ndarray:
    """Return shares of cases that rest on channel 0 or on channel 1, three cases in five on the first."""
    first = np.arange(n) % 5 < 3
    lead, rest = random.normal(0.8, 0.03, n), random.normal(0.05, 0.01, n)
    one, other = np.where(first, lead, rest), np.where(first, rest, lead)
    return np.stack([one, other, 1 - one - other], 1)


def test_two_ways_are_found_and_the_case_between_them():
    shares = two_ways(np.random.default_rng(0))
    shares[7] = [0.43, 0.43, 0.14]  # each share lies within the range of the others
    found = sx.study(decided(shares, bad=(7,)), "out-of-the-ordinary")
    first, second = found.tables["prototypes"][:2]
    assert (first["channel_1"], second["channel_1"]) == (0, 1)
    assert first["share_1"] == pytest.approx(0.8, abs=0.02)
    assert first["weight"] == pytest.approx(0.6, abs=0.05)
    assert shares[int(first["typical"][1:])].argmax() == 0
    odd = found.tables["decisions"][0]
    assert odd["case"] == "c7"
    assert odd["surprise"] > 5 * max(row["surprise"] for row in found.tables["decisions"][1:])
    detection = {row["score"]: row["auc"] for row in found.tables["detection"]}
    assert detection["surprise"] == 1
    assert detection["oddness"] < 1  # no single number is out of the ordinary
    assert "organ comes about in" in found.sentence
    assert "the most surprising case is c7" in found.sentence
    assert {row["case"]: row["surprise"] for row in found.rows}["c7"] == odd["surprise"]
    assert [chart.title for chart in found.charts] == ["Out of the ordinary", "How the network decided"]


def test_control_the_same_numbers_without_ways_are_no_surprise():
    """The case is odd because of the two ways, not because of its numbers."""
    random = np.random.default_rng(0)
    one = random.uniform(0.05, 0.8, N)
    shares = np.stack([one, 0.86 - one, np.full(N, 0.14)], 1) + random.normal(0, 0.01, (N, 3))
    shares[7] = [0.43, 0.43, 0.14]
    found = sx.study(decided(shares), "out-of-the-ordinary")
    surprise = {row["case"]: row["surprise"] for row in found.tables["decisions"]}
    assert surprise["c7"] < max(surprise.values())
    planted = two_ways(np.random.default_rng(0))
    planted[7] = shares[7]
    decisions = sx.study(decided(planted), "out-of-the-ordinary").tables["decisions"]
    assert surprise["c7"] < decisions[0]["surprise"] / 5


def test_the_same_as_the_definition():
    shares = two_ways(np.random.default_rng(2))
    part = np.arange(N) % 10
    found = surprise(shares, part, np.ones(N, bool), 0)
    model = fitted(shares[part != 3], 0)
    apart = [
        np.log(w) - 0.5 * (np.log(2 * np.pi * v) + (shares[3] - m) ** 2 / v).sum()
        for w, m, v in zip(model.weights_, model.means_, model.covariances_, strict=True)
    ]
    middle = np.median(model.score_samples(shares[part != 3]))
    assert found[3] == pytest.approx(middle - np.logaddexp.reduce(apart))


def test_too_few_cases_are_words_and_shares_are_no_columns():
    found, again = (
        sx.study(decided(two_ways(np.random.default_rng(0), 12)), "out-of-the-ordinary") for _ in range(2)
    )
    assert found.tables["decisions"]
    assert (again.rows, again.tables) == (found.rows, found.tables)
    held = decided(two_ways(np.random.default_rng(0), 12))
    held.channels[:] = [row for row in held.channels if int(row["case"][1:]) < 5]
    few = sx.study(held, "out-of-the-ordinary")
    assert "decisions" not in few.tables
    assert any("organ is drawn in too few cases" in one for one in few.caveats)
    assert not any(
        "relevance" in str(row[f"odd_{k}"]) for row in found.rows for k in (1, 2, 3) if f"odd_{k}" in row
    )


def test_a_vector_is_what_each_channel_carries_of_all():
    rows = decided(np.array([[3.0, -1.0]])).channels
    (one,) = vectors_of(rows, ["c0"])
    assert one.values.tolist() == [[0.75, -0.25]]
    rows[0]["relevance"] = None  # not drawn
    assert vectors_of([{**row, "relevance": None} for row in rows], ["c0"]) == []


@pytest.fixture
def data(tmp_path):
    """Images of a bright and a dark spot, whose shares of the score are known; the last one is empty."""
    out = tmp_path / "data"
    out.mkdir()
    for name, (bright, dark) in {"a": (1, 1), "b": (3, 9), "c": (0, 0)}.items():
        array = np.zeros((16, 16), np.float32)
        array[3, 12], array[12, 3] = bright, -dark
        tifffile.imwrite(out / f"{name}.tif", array)
    return out


SHARES = {"a": (2 / 3, 1 / 3), "b": (6 / 15, 9 / 15)}


def test_shares_and_routes_join_the_tables(data, tmp_path):
    model = sx.load_model(BrightOrDark(), card=card(grid={"size": [16, 16]}))
    asked = {"how": ["ability", "relevance"], "layer": "look"}
    found = sx.run_cohort(
        model, data, methods=[], out=tmp_path / "out", channels=asked, flow={"routes": True}, keep="tables"
    )
    assert not found.failed
    of = {(row["case"], row["how"], row["channel"]): row for row in found.channels}
    for case, (bright, dark) in SHARES.items():
        assert of[case, "relevance", "0"]["relevance"] == pytest.approx(bright)
        assert of[case, "relevance", "1"]["relevance"] == pytest.approx(dark)
    assert of["a", "relevance", "0"]["layer"] == "look"
    assert of["c", "relevance", "0"]["relevance"] is None
    assert "predicts no pixel as 'object'" in of["c", "relevance", "0"]["warnings"]
    route = {(row["case"], row["layer"]): row["relevance"] for row in found.flow}
    assert route["a", "look"] == pytest.approx(1)
    assert sx.read_cohort(tmp_path / "out").channels == found.channels
    with pytest.raises(sx.UserError, match="layer is that of the way 'relevance'"):
        sx.run_cohort_steps(model, data, methods=[], out=tmp_path / "no", channels={"layer": "look"})
    wrong = {"how": ["relevance"], "layer": "nowhere"}
    with pytest.raises(sx.UserError, match="nowhere"):
        sx.run_cohort_steps(model, data, methods=[], out=tmp_path / "no", channels=wrong)


def test_shares_add_up_over_windows(data, tmp_path):
    model = sx.SegmentationModel(BrightOrDark(), card(windows={"size": [8, 8], "overlap": 0.5}))
    asked = {"how": ["relevance"], "layer": "look"}
    found = sx.run_cohort(
        model, data, methods=[], out=tmp_path / "out", channels=asked, flow={"routes": True}, keep="tables"
    )
    assert not found.failed
    of = {(row["case"], row["channel"]): row["relevance"] for row in found.channels}
    for case, shares in SHARES.items():
        assert [of[case, "0"], of[case, "1"]] == pytest.approx(shares)
    carried = [row["relevance"] for row in found.flow if row["case"] == "a"]
    assert carried == pytest.approx([1] * len(carried))

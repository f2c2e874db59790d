"""Every method for folders: it repeats, costs what was announced, leaves the model as it was, is whole after saving, has words for what is not there, and a control for what it claims."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import card, planted_image
from helpers.states import Mixed, assert_same_state, state_of
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.methods.registry import all_methods

METHODS = {method.name: method for method in all_methods("dataset")}

SMALL = {
    "ace": {"segments": "8", "clusters": 3, "shuffles": 20, "removals": 1},
    "activation-maximization": {"count": 2, "patches": 2, "steps": 4, "side": 32},
    "cav": {"shuffles": 20, "removals": 1, "layers": "bottleneck"},
    "channel-importance": {"repeats": 1},
    "concept-graph": {"nodes": 3, "images": 2, "draws": 1},
    "emergent-language": {"steps": 4},
    "nearest-examples": {"least": 1, "k": 1, "prototypes": 2, "criticisms": 1},
    "network-dissection": {"layers": "bottleneck", "controls": 2},
    "nmf-concepts": {"factors": 2, "designs": 2, "examples": 2, "layer": "bottleneck"},
    "segmentation-ability": {"layers": "bottleneck"},
}


WITH_TRUTH = {"features", "r2"}
"""Columns that are there where cases have a truth, which these have not."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images that differ by place and noise."""
    out, rng = tmp_path_factory.mktemp("cases"), np.random.default_rng(0)
    whole = np.asarray(planted_image().array, np.float32)
    for k in range(8):
        moved = np.roll(whole, rng.integers(-3, 4, 2), (0, 1))
        Picture.fromarray(moved + rng.normal(0, 0.01, whole.shape).astype(np.float32)).save(out / f"c{k}.tif")
    return out


class Observed:
    """Two surveys of one network; its tests ask what they were like."""

    def __init__(self, method: str, folder):
        self.asked = {"method": method, **SMALL.get(method, {})}
        if METHODS[method].on_cases.concepts:
            self.asked["concepts"] = "predicted"
        self.module = Mixed()
        self.model = sx.load_model(self.module, card=card())
        self.before = state_of(self.module)
        self.first = sx.survey(self.model, folder, **self.asked)
        self.after = state_of(self.module)
        self.planned = sx.plan_survey(self.model, folder, **self.asked).passes
        self.module.tally.forward = 0
        self.second = sx.survey(self.model, folder, **self.asked)
        self.forward = self.module.tally.forward


@pytest.fixture(scope="module")
def observed(folder):
    known: dict[str, Observed] = {}

    def run(method: str) -> Observed:
        if method not in known:
            known[method] = Observed(method, folder)
        return known[method]

    yield run
    known.clear()


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_result_and_the_model_is_left_as_it_was(method, observed):
    run = observed(method)
    assert_same_state(run.before, run.after)
    one, other = run.first, run.second
    assert one.failed == {}
    assert (one.table, one.sentence, one.charts) == (other.table, other.sentence, other.charts)
    assert dict(one.tables) == dict(other.tables)
    assert one.record["results"] == other.record["results"]
    for a, b in zip(one.maps, other.maps, strict=True):
        assert (a.case, a.name) == (b.case, b.name)
        np.testing.assert_array_equal(a.array(), b.array())
    for a, b in zip(one.galleries, other.galleries, strict=True):
        for x, y in zip(a.pictures, b.pictures, strict=True):
            np.testing.assert_array_equal(x.values, y.values)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_announced_is_at_least_what_is_run(method, observed):
    run = observed(method)
    told = Passes(**run.second.record["passes"])
    assert run.planned.forward >= told.forward
    assert run.planned.backward >= told.backward
    assert run.planned.suffix >= told.suffix
    assert int(run.forward) <= told.forward + told.suffix


@pytest.mark.parametrize("method", METHODS)
def test_what_it_says_is_whole_after_saving(method, observed, tmp_path):
    found = observed(method).second
    assert found.table
    assert found.sentence.endswith(".")
    found.save(tmp_path / "out")
    opened = sx.load_survey(tmp_path / "out")
    assert (opened.table, opened.charts, dict(opened.tables)) == (
        found.table,
        found.charts,
        dict(found.tables),
    )
    assert [one.name for one in opened.galleries] == [one.name for one in found.galleries]
    for one, other in zip(opened.maps, found.maps, strict=True):
        np.testing.assert_array_equal(one.array(), other.array())


@pytest.mark.parametrize("method", METHODS)
def test_closing_it_half_way_leaves_the_model_as_it_was(method, observed, folder):
    run = observed(method)
    steps = sx.survey_steps(run.model, folder, **run.asked)
    partials = [step.partial for step, _ in zip(steps, range(10), strict=False)]
    steps.close()
    assert_same_state(run.before, state_of(run.module))
    if partials[-1] is not None:
        assert partials[-1]().record["partial"]


CLAIMS = {
    # Numbers of the table that say something about a label or a concept, and beside them what chance or something trivial gives.
    "ace": (("tcav", "derivative", "dice_lost"), ("tcav_shuffled", "dice_lost_shuffled", "accuracy_place")),
    "activation-maximization": (("made", "best"), ("random",)),
    "bottleneck-map": (("said_iou",), ("r2_shuffled", "r2_size")),
    "cav": (("accuracy", "tcav", "derivative", "dice_lost"), ("accuracy_shuffled", "accuracy_place", "dice_lost_shuffled")),
    "channel-importance": (("dice_drop",), ("low", "high")),
    "concept-graph": (("kept", "strength"), ("control", "bypass")),
    "emergent-language": (("bits",), ("shuffled", "dice_shuffled", "dice_mean")),
    "nearest-examples": (("nearest_distance",), ("by_chance", "shuffled_distance", "same_by_size")),
    "network-dissection": (("iou", "auc"), ("control_iou", "control_auc", "ceiling")),
    "nmf-concepts": (("importance", "dice_lost"), ("control_lost", "label_share", "agreement")),
    "segmentation-ability": (("ability",), ("control", "size_correlation")),
}  # fmt: skip

PLANTED = {
    # The test in which the answer is known: a closed form, or a planted cause.
    "ace": "test_ace.py::test_the_kind_that_counts_is_a_concept_and_is_used",
    "activation-maximization": "test_activation_maximization.py::test_the_image_of_a_unit_is_its_kernel",
    "bottleneck-map": "test_bottleneck_map.py::test_a_planted_dependence_is_told_and_nothing_else",
    "cav": "test_cav.py::test_the_derivative_of_a_linear_head_is_its_weight_along_the_direction",
    "channel-importance": "test_one_implementation.py::test_channels_over_a_folder_are_those_of_the_cohort",
    "concept-graph": "test_concept_graph.py::test_the_chain_is_found_and_what_lies_apart_is_not_in_it",
    "emergent-language": "test_emergent_language.py::test_of_two_shapes_one_bit_is_told",
    "nearest-examples": "test_nearest_examples.py::test_a_duplicate_is_the_nearest_and_an_odd_object_the_first_criticism",
    "network-dissection": "test_survey.py::test_the_planted_unit_is_found_and_its_control_finds_nothing",
    "nmf-concepts": "test_nmf_concepts.py::test_the_planted_concepts_are_found_and_the_one_that_matters_is_told",
    "segmentation-ability": "test_one_implementation.py::test_ability_over_a_folder_is_that_of_the_flow_and_of_the_cohort",
}

NOT_ABOUT_LABELS = ("activation-maximization", "bottleneck-map")
"""What these say needs no object."""


@pytest.mark.parametrize("method", METHODS)
def test_what_it_claims_stands_beside_a_control_and_has_a_test_whose_answer_is_known(method, observed):
    """A method that comes is named here, with its control and the test of its planted cause."""
    claimed, controls = CLAIMS[method]
    found = observed(method).first
    columns = {*found.table[0], *found.record["results"]}
    assert {*claimed} <= {*found.table[0]}
    if method != "bottleneck-map":  # which needs 20 truths for them: its own tests have those
        assert {*controls} <= columns
    file, _, name = PLANTED[method].partition("::")
    (path,) = (Path(__file__).parents[2]).rglob(file)
    assert f"\ndef {name}(" in path.read_text(encoding="utf-8")


class Silent(Mixed):
    """Draws nothing."""

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([0.0, -1e3]))


@pytest.mark.parametrize("method", METHODS)
def test_where_there_is_no_object_and_no_concept_there_are_words_and_no_number(method, folder, tmp_path):
    asked = {"method": method, **SMALL.get(method, {})}
    if METHODS[method].on_cases.concepts:
        (tmp_path / "nowhere").mkdir()
        for path in folder.iterdir():
            Picture.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "nowhere" / f"{path.stem}.png")
        asked["concepts"] = tmp_path / "nowhere"
    found = sx.survey(sx.load_model(Silent(), card=card()), folder, **asked)
    assert found.failed == {}
    about = [row for row in found.table if row.get("end", "object") == "object"]
    claimed = () if method in NOT_ABOUT_LABELS else CLAIMS[method][0]
    assert [row for row in about if any(row[name] is not None for name in claimed)] == []
    if claimed:
        said = " ".join([found.sentence, *found.warnings])
        assert any(word in said for word in ("object", "nowhere", "No label", "No concept"))


@pytest.mark.parametrize("method", METHODS)
def test_every_column_says_what_it_means_and_every_control_whose_it_is(method, observed, tmp_path):
    found = observed(method).first
    tables = {"table": found.table, **found.tables}
    held = {name for rows in tables.values() for row in rows for name in row}
    assert [name for name in held if not found.column(name).meaning] == []
    described = {column.name for column in METHODS[method].on_cases.columns}
    assert {name for name in described if not name.endswith("N")} - held <= WITH_TRUTH
    assert {column.control_of for column in METHODS[method].on_cases.columns} - {""} <= described
    found.save(tmp_path / "out")
    written = list(csv.DictReader((tmp_path / "out" / "columns.csv").open()))
    assert {(one["table"], one["column"]) for one in written} == {
        (name, column) for name, rows in tables.items() for row in rows for column in row
    }
    assert all(one["meaning"] for one in written)

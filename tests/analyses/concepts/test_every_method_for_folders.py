"""Every method for folders: it repeats, costs what was announced, leaves the model as it was, and is whole after saving."""

from __future__ import annotations

import numpy as np
import pytest
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

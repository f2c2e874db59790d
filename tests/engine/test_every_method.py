"""Every method, stopped at any time: the model is left as it was, and what there is of a result survives."""

from __future__ import annotations

import gc
import weakref
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.networks import card, planted_image
from helpers.states import METHODS, SMALL, Mixed, assert_same_state, state_of

import napari_segxai as sx
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.core.progress import Passes
from napari_segxai.engine.question import Question
from napari_segxai.methods.registry import NOMINAL, find_method

MORE = {
    **SMALL,
    "rise": {"masks": 60},
    "counterfactual": {"search": "gradient", "iterations": 6},
}


class Observed:
    """One run of a method on a network that is new; its tests ask what it was like."""

    def __init__(self, method: str, **params):
        self.method, self.params, self.module = method, params, Mixed()
        self.model = sx.load_model(self.module, card=card())
        self.before, self.steps = state_of(self.module), []
        step = None
        try:
            job = sx.explain_steps(self.model, planted_image(), "object", method, **params)
            while True:
                step = next(job)
                self.steps.append((step.done, step.total, step.partial is not None, step.note))
        except StopIteration as end:
            self.found = end.value
        self.after = state_of(self.module)
        self.last = step.partial() if step.partial is not None else None

    @cached_property
    def again(self) -> SimpleNamespace:
        """A second run, for which what is made once for a network is there: what it found and cost."""
        tally, asked = self.module.tally, (self.model, planted_image(), "object", self.method)
        tally.forward = tally.backward = 0
        start = tally.calls
        found = sx.explain(*asked, **self.params)
        return SimpleNamespace(
            found=found,
            calls=tally.calls - start,
            forward=tally.forward,
            backward=tally.backward,
            planned=ExplanationPlan.make(*asked, **self.params).passes,
        )


@pytest.fixture(scope="module")
def observed():
    """One run of each method and its parameters for all tests of this file."""
    known: dict[tuple, Observed] = {}

    def run(method: str, params: dict) -> Observed:
        key = (method, *sorted(params.items()))
        if key not in known:
            known[key] = Observed(method, **params)
        return known[key]

    yield run
    known.clear()


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was(method, observed):
    run = observed(method, SMALL.get(method, {}))
    assert run.found.map.any()
    assert_same_state(run.before, run.after)


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_result(method, observed):
    """Bit for bit: maps, masks, curves and numbers, also of the methods that draw samples or train a network."""
    run = observed(method, SMALL.get(method, {}))
    first, second = run.found, run.again.found
    for name in ("map", "native", "stages"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
    for name in ("maps", "masks", "curves"):
        one, other = getattr(first, name), getattr(second, name)
        assert list(one) == list(other), name
        for key in one:
            np.testing.assert_equal(one[key], other[key], f"{name}.{key}")
    np.testing.assert_equal(first.record.results, second.record.results)
    assert first.record.warnings == second.record.warnings
    assert first.record.passes == second.record.passes


@pytest.mark.parametrize("method", METHODS)
def test_what_was_announced_is_at_least_what_is_run(method, observed):
    """Counted in the network itself, in whole images: no pass more than the plan said, and as many as the record tells."""
    again = observed(method, SMALL.get(method, {})).again
    planned, told = again.planned, Passes(**again.found.record.passes)
    assert planned.forward >= told.forward
    assert planned.suffix >= told.suffix
    assert planned.backward >= told.backward
    assert again.backward == told.backward
    assert int(again.forward) <= told.forward + told.suffix  # of windows, a last part of a pass is not told


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was_after_an_exception(method):
    module = Mixed()
    model = sx.load_model(module, card=card())
    model.layers_for(model.example())
    before = state_of(module)
    found = find_method(method)
    passes = found.passes(found.make_options(SMALL.get(method, {})), NOMINAL).forward
    module.tally.fail_at = module.tally.calls + min(passes, 2)
    with pytest.raises(RuntimeError, match="boom"):
        sx.explain(model, planted_image(), "object", method, **SMALL.get(method, {}))
    assert_same_state(before, state_of(module))


@pytest.mark.parametrize("method", METHODS)
def test_closing_stops_before_the_next_pass_and_restores(method):
    module = Mixed()
    model = sx.load_model(module, card=card())
    before = state_of(module)
    job = sx.explain_steps(model, planted_image(), "object", method, **SMALL.get(method, {}))
    step = next(job)
    calls = module.tally.calls
    assert 0 < step.done <= step.total
    job.close()
    assert module.tally.calls == calls
    assert_same_state(before, state_of(module))


@pytest.mark.parametrize("method", METHODS)
def test_steps_grow_to_the_total_that_was_announced(method, observed):
    run = observed(method, SMALL.get(method, {}))
    done = [done for done, *_ in run.steps]
    assert done == sorted(done)
    assert all(done <= total for done, total, *_ in run.steps)
    assert done[-1] == Passes(**run.found.record.passes).cost


@pytest.mark.parametrize("method", METHODS)
def test_stopped_at_the_last_step(method, observed):
    """Whatever could be shown before is kept until the end."""
    run = observed(method, MORE.get(method, {}))
    shown = False
    for *_, partial, note in run.steps:
        assert partial or not shown, f"{note}: what could be shown is lost"
        shown = partial
    if shown:
        assert run.last.record.partial
        assert np.isfinite(run.last.map).all()
        assert run.last.map.shape == planted_image().spatial_shape


ITERATIVE = [
    "rise", "occlusion", "kernel-shap", "lime", "seg-sobol", "smooth-grad", "integrated-gradients",
    "guided-integrated-gradients", "grid-saliency", "extremal-perturbation", "misure", "adversarial-attack",
    "counterfactual", "stable-explanation",
]  # fmt: skip


@pytest.mark.parametrize("method", ITERATIVE)
def test_stopped_before_the_end(method, observed):
    run = observed(method, MORE.get(method, {}))
    job = sx.explain_steps(run.model, planted_image(), "object", method, **run.params)
    for _ in range(max(1, round(0.8 * len(run.steps)))):
        step = next(job)
    job.close()
    found = step.partial()
    assert found.record.partial
    assert np.isfinite(found.map).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_exception_late_leaves_modes_hooks_and_memory_as_they_were(method, share, observed):
    run = observed(method, MORE.get(method, {}))
    module, calls, before = run.module, run.again.calls, state_of(run.module)
    alive: list[weakref.ref] = []
    original = Question.__init__

    def watched(self, *args, **kwargs):
        original(self, *args, **kwargs)
        alive.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Question, "__init__", watched)
        patch.setattr(module.tally, "fail_at", module.tally.calls + max(1, round(share * calls)))
        with pytest.raises(RuntimeError, match="boom") as caught:
            sx.explain(run.model, planted_image(), "object", method, **run.params)
    assert_same_state(before, state_of(module))
    caught.value.__traceback__ = None
    del caught
    module.tally.error = RuntimeError("boom")  # the traceback of the old one holds the frames
    if any(ref() is not None for ref in alive):
        gc.collect()
    assert alive
    assert all(ref() is None for ref in alive), "the question, and its tensors, are still held"

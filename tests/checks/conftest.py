"""Methods that a test makes up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from napari_segxai.core.progress import Passes
from napari_segxai.engine.finding import Finding
from napari_segxai.methods import registry as methods


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


@pytest.fixture
def method():
    """Add a method for one test: what it makes of a question on the model grid."""
    added = []

    def add(make, passes=0):
        name = f"test-{len(added)}"

        def run(question, options):
            yield question.step("working")
            return Finding(make(question))

        known = {
            "title": name,
            "question": "evidence",
            "summary": "",
            "source": "",
            "unit": "",
        }
        methods.explainer(name, options=Nothing, passes=lambda o, s: Passes(passes), **known)(run)
        added.append(name)
        return name

    methods.all_methods()
    yield add
    for name in added:
        methods._known._things.pop(name)

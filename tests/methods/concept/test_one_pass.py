"""Methods for folders pass over them once, and keep no more the more cases there are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers.concepts import planted_folder, planted_network

import napari_segxai as sx
from napari_segxai.engine.cases import CasesQuestion
from napari_segxai.methods.concept import emergent_language, nearest_examples
from napari_segxai.methods.concept.parts.sample import Sample

CASES = 30

SHOWN = {
    # How many cases may be looked at again: of which maps and crops are kept, or on which a few changes are tried.
    "bottleneck-map": 0,
    "cav": 8 + 2 + 1,
    "emergent-language": 0,
    "nearest-examples": 1 + 2 + 2 + 2 + 1,
    "network-dissection": 8,
    "nmf-concepts": 2 + 2 * 8,
    "segmentation-ability": 0,
}

ASKED = {
    "cav": {"removals": 1, "shuffles": 20, "layers": "body"},
    "emergent-language": {"layer": "body", "steps": 2},
    "nearest-examples": {"layers": "body", "k": 2, "prototypes": 2, "criticisms": 1},
    "network-dissection": {"layers": "body", "controls": 1},
    "nmf-concepts": {"layer": "body", "factors": 2, "designs": 2, "examples": 2},
    "segmentation-ability": {"layers": "body"},
    "bottleneck-map": {"layer": "body"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return planted_folder(tmp_path_factory.mktemp("many"), CASES)


@pytest.mark.parametrize("method", SHOWN)
def test_every_case_is_looked_at_once_and_a_few_that_are_shown_again(method, folder, monkeypatch):
    looked: Counter[str] = Counter()
    usual = CasesQuestion._view

    def counted(cases, entry):
        looked[entry.id] += 1
        return usual(cases, entry)

    monkeypatch.setattr(CasesQuestion, "_view", counted)
    concepts = {"concepts": folder[1].parent / "square"} if method in ("cav", "network-dissection") else {}
    sx.survey(planted_network(), folder[0], method, **concepts, **ASKED[method])
    assert set(looked) == {f"c{k}" for k in range(CASES)}
    assert looked.total() - CASES <= SHOWN[method]


def test_a_sample_keeps_what_its_seed_and_the_names_say_in_whatever_order_they_come():
    def names(order) -> list[str]:
        sample: Sample[str] = Sample(3, 10)
        for k in order:
            sample.add(str(k), str(k), stays=k == 77)
        assert (sample.seen, len(sample)) == (len(list(order)), min(10, len(list(order))))
        return sample.items()

    kept = names(range(100))
    assert "77" in kept
    assert kept == sorted(kept, key=int)
    assert set(names(range(99, -1, -1))) == set(kept)
    assert names(range(5)) == list("01234")
    often = [len({*(sample_of(seed))} & set(range(50))) for seed in range(200)]
    assert np.mean(often) == pytest.approx(5, abs=0.5)  # the first half is not preferred


def sample_of(seed: int) -> list[int]:
    sample: Sample[int] = Sample(seed, 10)
    for k in range(100):
        sample.add(str(k), k)
    return sample.items()


def test_of_more_than_fit_some_are_kept_by_chance_and_that_is_said(folder, monkeypatch):
    monkeypatch.setattr(nearest_examples, "MOST", 12)
    monkeypatch.setattr(emergent_language, "MOST", 12)
    model = planted_network()
    found = sx.survey(model, folder[0], "nearest-examples", of="c7", **ASKED["nearest-examples"])
    assert len(found.table) == 12
    assert found.record["results"]["asked_about"] == "c7"
    assert f"of {CASES} objects 12 were compared, drawn by chance." in found.warnings
    talk = sx.survey(model, folder[0], "emergent-language", **ASKED["emergent-language"])
    assert len(talk.tables["sentences"]) == 12
    assert any(
        f"of {CASES} cases in which the label is drawn 12 were talked about" in one for one in talk.warnings
    )

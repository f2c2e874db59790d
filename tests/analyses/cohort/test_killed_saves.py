"""A cohort that is killed while it saves: nothing half is taken for a result, and what is left over goes."""

from __future__ import annotations

import os

import numpy as np
import pytest
from helpers.files.saving import audited, killed_at
from helpers.networks import card, planted_image, planted_model
from PIL import Image as Picture

import napari_segxai as sx
from napari_segxai.analyses.cohort.hold import WORKERS, held_alone
from napari_segxai.analyses.cohort.jobs import job as jobs
from napari_segxai.analyses.cohort.jobs.inputs import Inputs
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.cohort.where.cases import waiting
from napari_segxai.io.held import STAGE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_again_and_again_a_job_is_done_or_not_done(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    Picture.fromarray((planted_image().array * 255).astype(np.uint8)).save(tmp_path / "data" / "c.png")
    model = sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))
    data, out = sx.find_cases(tmp_path / "data"), tmp_path / "out"
    plans = [
        CohortPlan.make(model, data, ["object"], ["rise:masks=2"], seed=seed, device="cpu") for seed in (0, 1)
    ]
    (case,), job = data, [plan.jobs[1] for plan in plans]
    places, maps = out / "cases" / "c", []
    with monkeypatch.context() as patch:  # computed once; what is tried is how it is kept
        kept = []
        patch.setattr(jobs, "_keep", lambda *given: kept.append(given))
        for plan, one in zip(plans, job, strict=True):
            for _ in jobs.do(plan, case, one, Inputs(case), places):
                pass
    sx.run_cohort(model, data, ["object"], ["rise:masks=2"], seed=1, out=out, device="cpu")
    place, met = places / job[0].place, set()
    total = audited(lambda: jobs._keep(*kept[0]))
    for k in range(18):
        asked = k % 2  # of the result that is there, the seed is the other
        killed = killed_at(1 + k * total // 16, lambda asked=asked: jobs._keep(*kept[asked]))
        there = jobs.read_done(place, "c")
        if there is not None:
            sx.load_explanation(place)  # holds every file against the digests of the record
        left = waiting(plans[asked], [job[asked]], [(case, places)])
        assert not (place / STAGE).exists()
        met.add((killed, there is not None, bool(left)))
        if left:
            jobs._keep(*kept[asked])
        if k < 3:
            maps.append(sx.load_explanation(place).map)
    # killed before the save counted; while it took its place, which is completed; and after
    assert {(True, True, True), (True, False, False), (False, True, False)} <= met
    np.testing.assert_array_equal(maps[0], maps[2])
    assert (maps[0] != maps[1]).any()


def test_what_a_killed_run_on_slurm_has_left_goes_with_the_next_run(tmp_path):
    left = tmp_path / f"{WORKERS}abc"
    left.mkdir()
    (left / "key.pem").write_text("secret")
    with held_alone(tmp_path, (1, 2)):  # the other half may be running
        assert left.exists()
    with held_alone(tmp_path, (1, 1)):
        assert not left.exists()

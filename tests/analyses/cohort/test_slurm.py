"""Jobs of SLURM, for which processes of this machine stand in: the same numbers, and no job that is left over."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from helpers.slurm import alive, make_commands

import napari_segxai as sx
from napari_segxai.datasets.resources import resource

pytest.importorskip("cryptography", reason="the extra `cohort`")
pytest.importorskip("dask_jobqueue", reason="the extra `cohort`")
psutil = pytest.importorskip("psutil")

ASKED = {"labels": ["triangle"], "methods": ["vanilla-gradient"], "device": "cpu", "threads": 1}
OPTIONS = {"walltime": "10", "memory": "2GB", "interface": "lo", "queue": "main", "setup": "export LC_ALL=C"}


@pytest.mark.skipif(sys.platform != "linux", reason="the name of the network within a machine")
def test_the_same_numbers_and_no_job_is_left_over_when_it_is_stopped(tmp_path, monkeypatch):
    spool = make_commands(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    data, out = tmp_path / "my data", tmp_path / "my results"  # no line of a job's script has these names
    data.mkdir()
    for number in range(6):
        image = resource(f"sample_data/images/triangle_{number % 3 + 1}.png")
        (data / f"c{number}.png").write_bytes(image.read_bytes())
    steps = sx.run_cohort_steps("triangle", data, **ASKED, out=out, where="slurm", workers=1, slurm=OPTIONS)
    for step in steps:
        if step.note.startswith("1 of 6") and "in hand" in step.note:
            break
    jobs = alive(spool)
    assert jobs
    steps.close()
    psutil.wait_procs(jobs, timeout=10)
    assert not alive(spool)
    assert not list(out.glob(".segxai-workers-*"))  # the keys to the connections
    found = sx.read_cohort(out)
    assert 1 <= len(found.maps) < 6
    assert not found.failed
    here = sx.run_cohort("triangle", data, **ASKED, out=tmp_path / "here", shard=(1, 6))  # c0 alone
    maps = [run.explanation("c0", "triangle").map for run in (found, here)]
    np.testing.assert_array_equal(*maps)
    assert {**found.maps[0], "seconds": 0} == {**here.maps[0], "seconds": 0}
    assert found.objects[0] == here.objects[0]

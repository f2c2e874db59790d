"""Where a cohort runs: other processes give the same numbers, and whatever is killed, nothing is lost and nothing is left over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.numpy import save_file

import napari_segxai as sx
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.cohort.where import cluster, elsewhere, work
from napari_segxai.analyses.cohort.where.place import device_at, read_where, seconds
from napari_segxai.analyses.cohort.where.task import Task

pytest.importorskip("cryptography", reason="the extra `cohort`")
dask = pytest.importorskip("dask", reason="the extra `cohort`")
pytest.importorskip(
    "distributed", reason="the extra `cohort`"
)  # whose settings are there when others are set
psutil = pytest.importorskip("psutil")

NETWORK = """
import os, pathlib, signal
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        first = round(float(x[0, 0, 0, 0].detach()) * 255)
        marker = pathlib.Path(__file__).with_name(f"killed.{first}")
        if first == 77 or (first == 78 and not marker.exists()):
            with marker.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.conv(x)
"""
"""Kills its process at an image whose first pixel is 77; at one whose first pixel is 78 once."""

ASKED = {
    "labels": ["object"],
    "methods": ["vanilla-gradient", "rise:masks=8"],
    "device": "cpu",
    "threads": 1,
    "metrics": ["deletion-dice"],
}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A model folder with code of its own, which needs a yes."""
    folder = tmp_path_factory.mktemp("network") / "net"
    folder.mkdir()
    (folder / "deadly.py").write_text(NETWORK)
    weight = np.zeros((2, 1, 3, 3), np.float32)
    weight[1] = 2
    save_file(
        {"conv.weight": weight, "conv.bias": np.array([0, -8], np.float32)}, folder / "weights.safetensors"
    )
    (folder / "model.yaml").write_text(
        "name: net\nlabels: [background, object]\nspatial_dims: 2\narchitecture: deadly:Net\nintensity: [{divide: 255}]\n"
    )
    return folder


@pytest.fixture
def model(network) -> sx.SegmentationModel:
    for marker in network.glob("killed.*"):
        marker.unlink()
    return sx.load_model(network, trust=True)


def images(folder: Path, firsts: list[int]) -> Path:
    folder.mkdir()
    for number, first in enumerate(firsts):
        values = np.random.default_rng(number).integers(0, 60, (24, 24))
        values[8:16, 6 : 12 + number] += 180
        values[0, 0] = first
        Picture.fromarray(values.astype(np.uint8)).save(folder / f"c{number}.png")
    return folder


def tls(ca_file: str | None = None, cert: str | None = None, key: str | None = None) -> dict[str, str | None]:
    """What a user's settings of dask say of keys."""
    names = {"ca-file": ca_file, "client.cert": cert, "client.key": key}
    return {f"distributed.comm.tls.{name}": value for name, value in names.items()}


@pytest.fixture(scope="module")
def scheduler():
    """Four workers, which are kept for all tests of this file, and the keys to them; two have a GPU, or would have."""
    with (
        tempfile.TemporaryFile("w+") as said,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
    ):
        process = cluster._start(said)
        asked = {"kind": "local", "scratch": scratch, "threads": 1, "devices": [None, None, "0", "GPU-1"]}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        keys = {}
        for name in ("ca_file", "cert", "key"):
            path = Path(scratch) / f"{name}.pem"
            path.write_text(answer[name])
            keys[name] = str(path)
        with dask.config.set(tls(**keys)):
            yield answer["address"], process
        cluster._stop(process)


def same(one: sx.Cohort, other: sx.Cohort) -> bool:
    timeless = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    return timeless(one.objects) == timeless(other.objects) and timeless(one.maps) == timeless(other.maps)


def test_the_same_numbers_here_and_of_one_two_and_four_workers(model, scheduler, tmp_path):
    data = images(tmp_path / "data", [0] * 5)
    here = sx.run_cohort(model, data, **ASKED, out=tmp_path / "here")
    assert not here.failed
    assert len(here.maps) == 10
    for count in (1, 2, 4):
        out = tmp_path / f"{count}"
        steps = sx.run_cohort_steps(model, data, **ASKED, out=out, where=scheduler[0], workers=count)
        hands, done = 0, []
        try:
            while True:
                step = next(steps)
                done.append(step.done)
                if step.note.endswith("in hand"):
                    hands = max(hands, int(step.note.split()[-3]))
        except StopIteration as stop:
            found = stop.value
        assert hands == count  # a case per worker, no more
        assert done == sorted(done)
        assert done[-1] == step.total
        assert same(found, here)
        for case in range(5):
            maps = [run.explanation(f"c{case}", "object", "rise").map for run in (found, here)]
            np.testing.assert_array_equal(*maps)
    assert sx.run_cohort(model, data, **ASKED, out=tmp_path / "4").missing == 0  # here nothing is left to do


def test_who_listens(scheduler):
    process = psutil.Process(scheduler[1].pid)
    tree = [process, *process.children(recursive=True)]
    places = {c.laddr.ip for one in tree for c in one.net_connections("inet") if c.status == "LISTEN"}
    assert places == {"127.0.0.1"}
    with (
        pytest.raises(sx.UserError, match="cannot be reached"),
        dask.config.set({"distributed.comm.tls": {}}),
    ):
        next(cluster._connected(scheduler[0], {}).gen)


def test_a_worker_for_each_gpu(model, scheduler, tmp_path, monkeypatch):
    with cluster._connected(scheduler[0], {}) as client:
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(map(str, seen.values())) == sorted(
        ["0", "GPU-1", *2 * [str(os.environ.get("CUDA_VISIBLE_DEVICES"))]]
    )
    plan = replace(
        CohortPlan.make(model, sx.find_cases(images(tmp_path / "data", [0]))), device=torch.device("cuda:0")
    )
    task = Task(plan, plan.jobs, [], tmp_path, lambda: None, lambda: None)
    ask = lambda workers, device="auto": cluster.devices(task, read_where("local", workers, None, device))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert ask(None) == ask(None, "cuda") == ["0", "1", "2"]
    assert ask(2) == ["0", "1"]
    assert ask(4) == ["0", "1", "2", "0"]
    assert ask(None, "cuda:0") == ["0"]
    assert ask(2, "cuda:1") == ["1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7,2")
    assert ask(None) == ["5", "GPU-7", "2"]
    assert ask(None, "cuda:1") == ["GPU-7"]


def test_gpus_elsewhere_need_not_be_here(model, tmp_path):
    asked = {"memory": "1GB", "walltime": "60"}
    with_gpu = read_where("slurm", 1, {**asked, "gres": "gpu:a100:1"})
    there = read_where("tcp://127.0.0.1:9", None, None)
    assert [str(device_at(with_gpu, one)) for one in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    assert device_at(read_where("slurm", 1, asked), "auto") == "cpu"
    assert str(device_at(there, "cuda")) == "cuda"
    for where, workers, slurm in (("slurm", 1, asked), ("tcp://127.0.0.1:9", None, None)):
        with pytest.raises(sx.UserError, match="say device 'cuda' instead of 'cuda:1'"):
            read_where(where, workers, slurm, "cuda:1")
    # A machine without a GPU hands it out.
    data, out = images(tmp_path / "data", [0]), tmp_path / "out"
    steps = sx.run_cohort_steps(
        model, data, ["object"], ["rise"], out=out, where="tcp://127.0.0.1:9", device="cuda"
    )
    assert next(steps).note == "0 of 1 cases are there"
    assert sx.read_cohort(out).record["device"] == "cuda"
    steps.close()


def test_a_worker_that_is_killed(model, network, scheduler, tmp_path, monkeypatch):
    # This scheduler does not try by itself, as that of where="local".
    monkeypatch.setattr(elsewhere, "OTHERS_TRIES", elsewhere.OWN_TRIES)
    data = images(tmp_path / "data", [0, 77, 0, 78])
    found = sx.run_cohort(model, data, **ASKED, out=tmp_path / "out", where=scheduler[0])
    # c3 is tried again; c1 has killed three workers, and the others have lost nothing by it.
    assert {row["case"] for row in found.failed} == {"c1"}
    assert len(found.failed) == 3
    assert "was killed" in found.failed[0]["error"]
    assert [(network / f"killed.{first}").read_text() for first in (77, 78)] == ["xxx", "x"]
    assert found.missing == 0
    assert len(found.maps) == 8


def test_what_cannot_go_to_other_processes_is_said_before_the_work(model, scheduler, tmp_path):
    data = images(tmp_path / "data", [0])
    ask = lambda model, **more: sx.run_cohort(
        model, data, **{**ASKED, **more}, out=tmp_path / "out", where=scheduler[0]
    )
    with pytest.raises(sx.UserError, match="in the memory of this process alone"):
        ask(sx.load_model(model.module, card=model.card))
    assert not (tmp_path / "out").exists()
    changed = sx.load_model(model.path, trust=True)
    changed.module.conv.bias.data += 1
    changed.__dict__.pop("sha256", None)
    with pytest.raises(sx.UserError, match="holds other weights of net"):
        ask(changed)
    assert not list((tmp_path / "out").glob("cases/*"))


def test_a_run_that_is_closed_takes_its_cases_back(model, scheduler, tmp_path):
    data = images(tmp_path / "data", [0] * 3)
    asked = {**ASKED, "methods": ["rise:masks=200000"], "metrics": []}
    steps = sx.run_cohort_steps(model, data, **asked, out=tmp_path / "out", where=scheduler[0], workers=2)
    while "2 in hand" not in next(steps).note:
        pass
    steps.close()
    end = time.monotonic() + 60
    with cluster._connected(scheduler[0], {}) as client:
        while any(client.processing().values()):
            assert time.monotonic() < end
            time.sleep(0.05)
    quick = sx.run_cohort(model, data, **ASKED, out=tmp_path / "out", where=scheduler[0])
    assert not quick.failed  # workers are free again


KILLED = """
import sys
import napari_segxai as sx
model = sx.load_model(sys.argv[1], trust=True)
asked = dict(labels=["object"], methods=["rise:masks=400"], out=sys.argv[3], device="cpu", threads=1)
sx.run_cohort(model, sys.argv[2], **asked, where="local", workers=1, progress=lambda step: print(step.note, flush=True))
"""
"""A script without `if __name__ == "__main__"`."""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_over_of_a_run_that_is_stopped(how, model, network, tmp_path):
    data, out, script = images(tmp_path / "data", [0] * 40), tmp_path / "out", tmp_path / "script.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(script), str(network), str(data), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    for line in process.stdout:
        if line.startswith(b"2 of"):
            break
    tree = psutil.Process(process.pid).children(recursive=True)
    assert tree
    process.send_signal(how)
    process.wait()
    process.stdout.close()
    assert not psutil.wait_procs(tree, timeout=20)[1]
    there = sx.read_cohort(out)
    assert 2 <= len(there.maps) < 40
    assert not there.failed
    before = {path: path.stat().st_mtime_ns for path in out.glob("cases/*/maps/**/record.json")}
    again = sx.run_cohort(
        model, data, ["object"], ["rise:masks=400"], out=out, device="cpu", shard=(1, 8)
    )  # as many threads as before
    assert len(again.maps) >= 5
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_process_makes_the_same_plan(model, tmp_path):
    cases = sx.find_cases(images(tmp_path / "data", [0, 1]))
    methods = ["rise:masks=8", "rise:masks=9", "misure:iterations=3"]
    plan = CohortPlan.make(
        model,
        cases,
        methods=methods,
        threads=3,
        metrics=["f1-mask", "dice-explained:binarize=0.05"],
        flow={},
        channels={"how": ["between"]},
        device="cpu",
    )
    order = json.loads(json.dumps(work.order_of(plan)))
    told = json.loads(json.dumps(work.case_order(plan, cases[0], tmp_path / "x")))
    other = work._plan(order, sx.Cases(tmp_path, "table", tuple(map(work._read, told["cases"]))))
    assert other.jobs == plan.jobs
    assert [other.key(cases[0], job) for job in other.jobs] == [plan.key(cases[0], job) for job in plan.jobs]
    with pytest.raises(sx.UserError, match=r"torch 1.0|torch .* instead of 1.0"):
        work._plan({**order, "asked": ["x"], "versions": {"torch": "1.0"}}, cases)


@pytest.mark.parametrize(
    ("where", "workers", "slurm", "words"),
    [
        ("cluster", None, None, "is unknown; known are 'here', 'local', 'slurm'"),
        ("here", 2, None, "say where='local'"),
        ("local", 0, None, "workers"),
        ("local", None, {"memory": "1GB"}, "options of SLURM"),
        ("slurm", None, {"memory": "1GB", "walltime": "1:00"}, "how many SLURM jobs"),
        ("slurm", 2, {"memory": "1GB"}, "need the option walltime"),
        ("slurm", 2, {"memory": "1GB", "walltime": "soon"}, "walltime is 'soon'"),
        ("slurm", 2, {"memory": "1GB", "walltime": "60", "gres": "gpu:1\nrm -r ~"}, "option gres"),
        ("slurm", 2, {"memory": "1GB", "walltime": "60", "gpus": "1"}, "no option 'gpus'"),
        ("tcp://node", None, None, "not the address of a scheduler"),
        ("tcp://node:port", None, None, "not the address of a scheduler"),
    ],
)
def test_places_that_are_none(where, workers, slurm, words):
    with pytest.raises(sx.UserError, match=words):
        read_where(where, workers, slurm)


def test_times_of_slurm():
    times = {"90": 5400, "1:30": 90, "04:00:00": 14400, "2-12": 216000, "1-01:00:30": 90030}
    assert {text: seconds(text) for text in times} == times


def test_a_scheduler_that_is_not_there(model, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1)
    data = images(tmp_path / "data", [0])
    with pytest.raises(sx.UserError, match="cannot be reached"):
        sx.run_cohort(model, data, **ASKED, out=tmp_path / "out", where="tcp://127.0.0.1:9")

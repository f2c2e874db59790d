"""The commands `cohort plan`, `run`, `study` and `collect`, on pictures of the samples."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from typer.testing import CliRunner

from napari_segxai.cli.app import app
from napari_segxai.datasets.resources import resource


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_commands(tmp_path):
    images, out = resource("sample_data/images"), str(tmp_path / "out")
    for name in ("triangle_1.png", "triangle_1_truth.png", "triangle_2.png"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes((images / name).read_bytes())
    (tmp_path / "data" / "bad.png").write_bytes(b"")
    run = lambda *args: CliRunner().invoke(app, ["cohort", *args])
    shown = run("plan", str(tmp_path / "data"))
    assert "data: 3 cases, 1 with truth (layout: folder)" in shown.output
    assert "\n  triangle_1: triangle_1.png; truth: triangle_1_truth.png\n" in shown.output
    told = json.loads(run("plan", str(tmp_path / "data"), "--json").stdout)
    assert [case["id"] for case in told["cases"]] == ["bad", "triangle_1", "triangle_2"]
    asked = ["run", str(tmp_path / "data"), "--model", "triangle", "--methods", "seg-grad-cam", "--out", out]
    first = run(*asked)
    assert first.exit_code == 1
    assert "3 cases, 3 objects, 3 maps, 2 failed" in first.stdout
    assert "bad.png" in first.stderr
    (tmp_path / "data" / "bad.png").unlink()
    assert run(*asked).exit_code == 0
    lines = run("study", out, "averages").stdout.splitlines()
    heads, table = lines[0], [line for line in lines[1:] if " size_px " in line]
    assert table[0].index("size_px") + len("size_px") == heads.index("number") + len(
        "number"
    )  # columns align
    assert table[0].split()[:3] == ["triangle", "–", "size_px"]
    (tmp_path / "out" / "maps.csv").unlink()
    assert "2 maps" in run("collect", out).stdout
    assert len(rows(tmp_path / "out" / "maps.csv")) == 2
    other = [*asked[:5], "vanilla-gradient", *asked[6:]]
    said = run(*other).stderr.replace("\n", " ")
    assert "seg-grad-cam of triangle of an earlier one stay in the folder" in said
    assert "earlier one" not in run(*asked[:5], "vanilla-gradient,seg-grad-cam", *asked[6:]).stderr
    for args, words in (
        (["--shard", "3"], "is not a part"),
        (["--shard", "9/9"], "there are 2 cases"),
        (["--label", "x"], "has no label"),
        (["--keep", "x"], "keep"),
        (["--layout", "bids"], "holds no image"),
    ):
        wrong = run(*asked, *args)
        assert wrong.exit_code == 2, args
        assert words in wrong.stderr.replace("\n", " ")


def test_importance_names_ways_and_the_layer_of_relevances():
    from napari_segxai.cli.cohort import _importance

    assert [_importance(text) for text in (None, "all")] == [False, True]
    assert _importance("mean, ability") == {"how": ["mean", "ability"]}
    assert _importance("relevance") == {"how": ["relevance"]}
    asked = {"how": ["ability", "relevance"], "layer": "decoder2.convs"}
    assert _importance("ability,relevance:layer=decoder2.convs") == asked

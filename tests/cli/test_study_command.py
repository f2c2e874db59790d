"""The commands `cohort study` and `cohort studies`, on a folder that holds a cohort of known numbers."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort.study import _known, register_study
from napari_segxai.cli.app import app
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.core.options import option


@dataclass(frozen=True)
class Options:
    least: float = option(0.5, ge=0, le=1, help="least Dice")


@pytest.fixture
def told(monkeypatch):
    """A study of the user's own, and a cohort that is not read from a folder."""

    @register_study("own", title="Own", summary="counts what is good", source="me", options=Options)
    def own(cohort, random, options):
        good = [row for row in cohort.maps if row["dice"] >= options.least]
        chart = Chart("bars", "t", "x", "y", (Series("", ("a",), (1,)),))
        return sx.StudyResult(
            "own",
            [{"many": len(good)}],
            "Some are good.",
            (),
            (chart,),
            {"the good": good},
            (Gallery("seen", "What is seen", (Picture("row", np.eye(4)),)),),
        )

    rows = [{"case": f"c{k}", "dice": k / 10, "error": "", "subject": "", "label": "", "map": ""} for k in range(10)]  # fmt: skip
    cohort = sx.Cohort(Path("out"), {"cases": []}, [], rows, 0)
    monkeypatch.setattr("napari_segxai.analyses.cohort.study.read_cohort", lambda folder: cohort)
    yield lambda *args: CliRunner().invoke(app, ["cohort", *args])
    _known._things.pop("own")


def test_parameters_and_tables(told, tmp_path):
    assert told("study", "out", "own").stdout.splitlines()[:3] == ["many", "   5", "Some are good."]
    assert "further tables (the good)" in told("study", "out", "own").stdout
    file = tmp_path / "own.csv"
    assert told("study", "out", "own", "-p", "least=.7", "--out", str(file)).exit_code == 0
    assert file.read_text().split() == ["many", "3"]
    (beside,) = tmp_path.glob("own_the*.csv")
    with beside.open(newline="") as held:
        assert [row["case"] for row in csv.DictReader(held)] == ["c7", "c8", "c9"]
    printed = json.loads(told("study", "out", "own", "--json").stdout)
    assert set(printed) == {"sentence", "caveats", "rows", "tables", "charts"}
    assert printed["charts"][0]["series"][0]["x"] == ["a"]
    wrong = told("study", "out", "own", "--param", "least=2")
    assert wrong.exit_code == 2
    assert "own: least is 2; it has to be 0 or more and 1 or less" in " ".join(wrong.stderr.split())


def test_pictures_are_written_beside_the_table(told, tmp_path):
    assert "There are pictures (What is seen): --out FILE writes them." in told("study", "out", "own").stdout
    assert told("study", "out", "own", "--out", str(tmp_path / "own.csv")).exit_code == 0
    assert (tmp_path / "own_seen.png").read_bytes()[:4] == b"\x89PNG"


def test_help_and_list_name_every_study(told):
    shown = " ".join(told("study", "--help").stdout.split())
    assert "own: counts what is good." in shown
    assert "averages: " in shown
    assert "least=0.5  [float, 0 or more and 1 or less]  least Dice" in told("studies").stdout
    assert json.loads(told("studies", "--json").stdout) == sx.list_studies()

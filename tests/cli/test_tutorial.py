"""The tutorial of cohorts does what it says, line by line; with fewer images and iterations."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

from typer.testing import CliRunner

import napari_segxai
from napari_segxai.analyses.cohort import study
from napari_segxai.cli.app import app

PAGE = Path(napari_segxai.__file__).parents[1] / "docs" / "tutorial_cohort.md"
FEWER = {"CASES = 40": "CASES = 4", "iterations=60": "iterations=5"}
NEED_MORE = ("reliability", "out-of-the-ordinary")
"""Studies that refuse so few cases."""


def test_the_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "DRAWS", 40)  # intervals are of few samples, too
    text = PAGE.read_text(encoding="utf-8")
    for more, fewer in FEWER.items():
        assert more in text
        text = text.replace(more, fewer)
    steps = re.findall(r"^```python\n(.*?)^```$|^    napari-segxai (.*?)$", text, flags=re.M | re.S)
    assert len(steps) >= 10
    for script, command in steps:
        if script:
            Path("step.py").write_text(script, encoding="utf-8")
            runpy.run_path("step.py")
            continue
        done = CliRunner().invoke(app, shlex.split(command))
        refused = command.endswith(NEED_MORE)
        assert done.exit_code == (2 if refused else 0), (command, done.output)
        assert not refused or "needed" in done.output
    assert len(list(Path("triangles/images").iterdir())) == 4
    assert len(Path("results/maps.csv").read_text().splitlines()) == 1 + 4 * 2
    assert "Dice with the truth" in capsys.readouterr().out
    assert "case_03" in Path("report.html").read_text(encoding="utf-8")

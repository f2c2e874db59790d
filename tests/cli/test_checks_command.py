"""Trust checks on the command line."""

from __future__ import annotations

import json

from helpers.checks import EVERY, TRIANGLE

import napari_segxai as sx


def test_the_command_line_prints_and_keeps_the_verdicts(tmp_path):
    from typer.testing import CliRunner

    from napari_segxai.cli.app import app

    def explain(out, *more):
        base = ["explain", str(TRIANGLE), "--model", "triangle", "--label", "triangle", "--out", str(out)]
        return CliRunner().invoke(app, [*base, "--method", "input-x-gradient", *more])

    done = explain(tmp_path / "a", "--check", "masked-input", "--check", "restates-prediction")
    assert done.exit_code == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["pass", "pass"]
    assert lines[-2].startswith("pass: More than the prediction: The map shows something else")
    kept = json.loads((tmp_path / "a" / "record.json").read_text())["trust"]
    assert [row["check"] for row in kept] == ["restates-prediction", "masked-input"]
    done = explain(tmp_path / "b", "--check", "other-sead")
    assert done.exit_code == 2
    assert "other-seed" in done.stderr
    assert not (tmp_path / "b").exists()


def run(*args):
    from typer.testing import CliRunner

    from napari_segxai.cli.app import app

    return CliRunner().invoke(app, list(args))


def test_the_command_line_sets_parameters_of_checks(tmp_path):
    base = [
        "explain",
        str(TRIANGLE),
        "--model",
        "triangle",
        "--label",
        "triangle",
        "--method",
        "seg-grad-cam",
    ]
    asked = ["other-seed:seeds=2", "restates-prediction:threshold=0.001", "other-seed:threshold=0.9"]
    flags = [word for text in asked for word in ("--check", text)]
    done = run(*base, *flags, "--out", str(tmp_path / "a"))
    assert done.exit_code == 0, done.stderr
    seeds, restates = json.loads((tmp_path / "a" / "record.json").read_text())["trust"]
    assert seeds["parameters"] == {"seeds": 2, "threshold": 0.9}
    assert len(seeds["details"]) == 2
    assert restates["parameters"]["threshold"] == 0.001
    assert restates["passed"] is False  # any overlap at all is too much
    for text, words in [
        ("other-seed:seeds", "other-seed:seeds=3"),
        ("other-seed:sead=2", "seeds"),
        ("other-seed:seeds=0", "1 or more"),
        ("all:threshold=0.5", "all stands for every check"),
    ]:
        done = run(*base, "--check", text, "--out", str(tmp_path / "b"))
        assert done.exit_code == 2, text
        assert words in done.stderr
        assert not (tmp_path / "b").exists()


def test_the_command_line_lists_the_checks():
    assert json.loads(run("checks", "--json").stdout) == sx.list_checks()
    blocks = run("checks").stdout.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == EVERY
    for block, row in zip(blocks, sx.list_checks(), strict=True):
        assert row["question"] in block
        assert f"cost: {row['cost']}" in block
        for parameter in row["parameters"]:
            assert (
                f"      {parameter['name']}={parameter['default']}" in block or parameter["default"] is None
            )

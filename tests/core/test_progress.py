"""The progress bar of the terminal."""

from __future__ import annotations

from napari_segxai.core.progress import Step, finish


def test_the_bar_shows_what_goes_on_and_takes_no_time_from_what_was_there(capsys):
    shown = []

    def steps():
        yield Step(24, 84, "24 are there")
        yield Step(24, 84, "starting workers")  # and that takes long
        shown.append(capsys.readouterr().err.split("\r")[-1])

    finish(steps(), progress=True)
    assert "starting workers" in shown[0]
    assert " 29%" in shown[0]
    assert "<?" in shown[0]  # nothing is known of how fast it is
    assert "pass" not in shown[0]  # what is counted is not always passes


def test_how_far_it_is_stays_in_sight_however_long_the_words_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shown = []

    def steps():
        yield Step(1, 4, "case 1 of 12, " + "a long name " * 10)
        shown.append(capsys.readouterr().err.split("\r")[-1])

    finish(steps(), progress=True)
    assert shown[0].startswith(" 25%|")
    assert "case 1 of 12" in shown[0]

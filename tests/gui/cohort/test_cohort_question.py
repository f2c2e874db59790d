"""What a cohort is asked of errors, contrasts and borders in its dock."""

from __future__ import annotations

import pytest

import napari_segxai as sx
from napari_segxai.gui.cohort.question import CasesTargetFields


def test_what_is_set_is_asked(qtbot):
    fields = CasesTargetFields()
    qtbot.addWidget(fields)
    fields.offer_against(["background", "A", "B"])
    assert fields.asked() == {}
    assert not fields.components_box.isEnabled()
    told = {
        "against": "B",
        "boundary": [-2.0, 2.0],
        "error": "false-negative",
        "components": 3,
        "least": 10.0,
    }
    with qtbot.waitSignal(fields.changed):
        fields.set_asked(told)
    assert fields.asked() == {**told, "boundary": (-2.0, 2.0)}
    assert fields.components_box.isEnabled()
    fields.offer_against(["background", "C", "B"])
    assert fields.against_box.currentText() == "B"
    fields.set_asked({})
    assert fields.asked() == {}
    fields.boundary_box.setText("two")
    with pytest.raises(sx.UserError, match="two distances"):
        fields.asked()

"""What the form of a cohort asks, and shows of one that was opened."""

from __future__ import annotations

from napari_segxai.gui.cohort.form import CohortForm


def test_the_form_asks_for_routes_and_relevance_and_shows_what_was_asked(qtbot):
    fields = CohortForm(lambda make, done: None)
    qtbot.addWidget(fields)
    fields.set_layers(["body", "head"])
    assert not fields.routes.isEnabled()
    fields.flow.setChecked(True)
    assert fields.asked()["flow"] is True
    fields.routes.setChecked(True)
    fields.causal.setChecked(True)
    assert fields.asked()["flow"] == {"routes": True, "causal": True}
    assert "channels" not in fields.asked()
    fields.relevance.setChecked(True)
    assert fields.asked()["channels"] == {"how": ["relevance"]}
    names = [fields.layer_box.itemText(k) for k in range(fields.layer_box.count())]
    assert names == ["auto", "body", "head"]
    fields.layer_box.setCurrentIndex(1)
    fields.channels.setChecked(True)
    usual = ["permutation", "mean", "between", "shapley", "ability"]
    asked = fields.asked()["channels"]
    assert sorted(asked["how"]) == sorted([*usual, "relevance"])
    assert asked["layer"] == names[1]
    record = {"labels": ["object"], "methods": {}, "metrics": [], "keep": "all", "seed": 0}
    fields.set_asked(
        {**record, "flow": {"layers": ["body"], "routes": True}, "channels": {"how": ["mean"], "repeats": 2}}
    )
    assert fields.asked()["flow"] == {"layers": ["body"], "routes": True}
    assert fields.asked()["channels"] == {"how": ["mean"], "repeats": 2}
    assert not fields.relevance.isChecked()
    fields.set_asked({**record, "channels": {"how": ["relevance"], "layer": "body", "repeats": 1}})
    assert not fields.flow.isChecked()
    assert not fields.channels.isChecked()
    assert fields.asked()["channels"] == {"how": ["relevance"], "layer": "body", "repeats": 1}

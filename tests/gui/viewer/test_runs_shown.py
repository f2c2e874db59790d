"""What results look like in the viewer: on top, named by what differs, readable under the cursor and in 3D."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import use_model
from helpers.networks import LinearHead, card

import napari_segxai as sx
from napari_segxai.gui.viewer.runs import describe_run
from napari_segxai.methods.registry import all_methods, find_method


def names(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers]


def seen(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_the_newest_run_is_on_top_and_older_ones_step_back(viewer, triangle_panel, run_panel):
    panel = triangle_panel
    above = viewer.add_image(np.zeros((112, 112), np.float32), name="another image above")
    panel.image_box.setCurrentText("triangle_1")
    drawn = viewer.add_points([[3, 3]], name="mine")
    run_panel(panel, "misure", iterations=2)
    assert names(viewer)[-2:] == ["minimal region #1 · misure", "mine"]
    first = [layer for layer in viewer.layers if layer.metadata.get("segxai_number") == 1]
    assert all(layer.visible for layer in first)
    run_panel(panel, "seg-grad-cam", layer="decoder3")
    assert names(viewer)[-2:] == ["saliency #2 · seg-grad-cam", "mine"]
    assert [n for n in names(viewer) if "#" in n][:4] == [  # a run stays together, the prediction below
        "stages #1 · misure",
        "saliency #1 · misure",
        "sufficient region #1 · misure",
        "minimal region #1 · misure",
    ]
    assert seen(viewer) == ["triangle_1", "another image above", "prediction · Triangle", *names(viewer)[-2:]]
    assert above.visible
    assert drawn.visible
    # the same prediction is there already, even where the first run was stopped or its layer renamed otherwise
    assert sum(layer.metadata.get("segxai_role") == "prediction" for layer in viewer.layers) == 1
    panel.fields.target_fields.seed_box.setValue(7)
    run_panel(panel, "seg-grad-cam", layer="bottleneck")
    assert names(viewer)[-2] == "saliency #3 · seg-grad-cam · bottleneck · seed 7"
    assert len(set(names(viewer))) == len(viewer.layers)
    # what was without doubt before says now what tells it from the newer ones; a name that the user gave stays
    assert "saliency #2 · seg-grad-cam · decoder3 · seed 0" in names(viewer)
    assert "stages #1 · misure · seed 0" in names(viewer)
    viewer.layers["saliency #2 · seg-grad-cam · decoder3 · seed 0"].name = "my favourite"
    run_panel(panel, "seg-grad-cam", layer="decoder2")
    assert "my favourite" in names(viewer)


@pytest.mark.usefixtures("drawn")
def test_the_map_has_a_colour_bar_and_a_partial_run_and_a_whole_one_share_a_prediction(
    viewer, triangle_panel, run_panel
):
    run_panel(triangle_panel, "seg-grad-cam")

    # a colour bar, and a title and a unit on the canvas
    layer, text = viewer.layers["saliency #1 · seg-grad-cam"], viewer.canvas.overlays.text
    assert layer.colorbar.visible
    assert text.text == "saliency #1 · seg-grad-cam\n    activation × gradient of the logit"
    assert text.visible
    layer.name = "renamed"
    assert text.text.startswith("renamed\n")
    layer.visible = False
    assert not text.visible
    layer.visible = True
    assert text.visible
    text.text = "of the user"
    viewer.layers.remove(layer)
    assert text.text == "of the user"
    assert not viewer.layers["triangle_1"].colorbar.visible  # that is the user's

    # one prediction
    [prediction] = [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "prediction"]
    prediction.metadata["segxai"]["partial"] = True  # as a run that was stopped leaves it
    run_panel(triangle_panel, "seg-grad-cam")
    assert sum(layer.metadata.get("segxai_role") == "prediction" for layer in viewer.layers) == 1
    prediction.data = np.zeros_like(prediction.data)  # no longer what the network says
    run_panel(triangle_panel, "seg-grad-cam")
    assert sum(layer.metadata.get("segxai_role") == "prediction" for layer in viewer.layers) == 2
    assert not prediction.visible


def record(**changes) -> dict:
    """What a run was asked, as a record says it."""
    base = {
        "method": "seg-grad-cam",
        "parameters": {"layer": "bottleneck", "intermediates": 0},
        "target": {"label": "liver", "region": {"kind": "predicted"}, "score": "logit", "reduction": "mean"},
        "model": {"name": "organs", "labels": ["background", "liver"]},
        "image": {"name": "abdomen"},
        "seed": 0,
        "slice": None,
    }
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) else value
    return base


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "seg-grad-cam"),
        ({"parameters": {"layer": "decoder2"}}, "seg-grad-cam · decoder2"),
        ({"seed": 3}, "seg-grad-cam · seed 3"),
        ({"slice": 4}, "seg-grad-cam · slice 4"),
        ({"target": {"region": {"kind": "image"}}}, "seg-grad-cam · whole image"),
        (
            {"target": {"region": {"kind": "drawn", "pixels": 8}, "error": "false-negative", "component": 2}},
            "seg-grad-cam · false-negative 2",
        ),
        ({"target": {"against": "spleen"}}, "seg-grad-cam · rather than spleen"),
        ({"target": {"boundary": [-2.0, 2.0]}}, "seg-grad-cam · border -2 to 2"),
        ({"target": {"score": "probability"}}, "seg-grad-cam · probability"),
        ({"parameters": {"intermediates": 2}, "seed": 1}, "seg-grad-cam · intermediates 2 · seed 1"),
        ({"image": {"name": "thorax"}}, "seg-grad-cam · thorax"),
        ({"method": "rise", "parameters": {"masks": 8}}, "rise"),
        ({"model": {"labels": ["background", "liver", "spleen"]}}, "seg-grad-cam · liver"),
        ({"target": {"label": "x" * 80}}, "seg-grad-cam · " + "x" * 13 + "…" + "x" * 13),
    ],
)
def test_a_name_says_what_differs(changes, words):
    assert describe_run(record(**changes), [record()]) == words


def test_a_name_stays_short_however_much_differs():
    other = record(
        parameters={"layer": "a", "intermediates": 1}, seed=5, slice=2, target={"region": {"kind": "image"}}
    )
    assert describe_run(other, [record()]).endswith(" …")
    assert len(describe_run(other, [record()])) < 90


@pytest.mark.usefixtures("drawn")
def test_the_legend_says_what_outlines_and_stages_are(viewer, triangle_panel, run_panel):
    panel = triangle_panel
    assert panel.run_bar.legend.isHidden()
    run_panel(panel, "misure", iterations=2)
    words = panel.run_bar.legend.text()
    assert "sufficient region" in words
    assert "minimal region" in words
    assert "stage" in words
    assert "#4cc9f0" in words  # in its own colour
    assert panel.run_bar.legend.isVisible()
    run_panel(panel, "seg-grad-cam", layer="last")
    assert "against" in panel.run_bar.legend.text()
    assert "region" not in panel.run_bar.legend.text()


def test_the_status_bar_tells_every_map_under_the_cursor_and_nothing_is_hidden_side_by_side(
    viewer, triangle_panel, run_panel
):
    run_panel(triangle_panel, "seg-grad-cam")
    viewer.canvas.grid.enabled = True
    run_panel(triangle_panel, "seg-grad-cam", layer="decoder3")
    assert "saliency #1 · seg-grad-cam · bottleneck" in seen(viewer)
    viewer.canvas.grid.enabled = False
    old, new = (
        viewer.layers["saliency #1 · seg-grad-cam · bottleneck"],
        viewer.layers["saliency #2 · seg-grad-cam · decoder3"],
    )
    old.visible = True
    viewer.layers.selection.active = viewer.layers["triangle_1"]
    viewer.mouse_over_canvas = True
    place = tuple(int(k) for k in np.unravel_index(np.abs(new.data).argmax(), new.data.shape))
    viewer.cursor.position = place
    viewer.update_status_from_cursor()
    told = viewer.status["coordinates"]
    for layer in (old, new):
        assert f"{layer.name}: {float(layer.data[place]):.4g}" in told
    assert (
        told in viewer.window._qt_window.statusBar()._coordinates.text()
        or told == viewer.status["coordinates"]
    )
    old.visible = False
    viewer.update_status_from_cursor()
    assert old.name not in viewer.status["coordinates"]
    assert viewer.status["coordinates"].count(new.name) == 1
    viewer.cursor.position = (-50.0, -50.0)
    viewer.update_status_from_cursor()
    assert new.name not in viewer.status["coordinates"]


@pytest.mark.usefixtures("drawn")
def test_in_3d_the_map_is_seen_through_and_the_bodies_step_aside(viewer, open_panel, wait, run_panel):
    viewer.window.resize(600, 400)  # rays are followed for every pixel
    volume = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
    viewer.add_image(volume, name="volume")
    panel = open_panel()
    network = LinearHead(3)
    use_model(panel, sx.load_model(network, card=card(3, name=f"solid {id(network)}")))
    wait(lambda: panel.run_bar.run.isEnabled())
    run_panel(panel, "seg-hires-grad-cam", layer="features.2")
    saliency = viewer.layers["saliency #1 · seg-hires-grad-cam"]
    prediction = next(layer for layer in viewer.layers if layer.name.startswith("prediction"))
    viewer.dims.ndisplay = 3
    assert saliency.rendering == "attenuated_mip"
    assert saliency.visible
    assert not prediction.visible
    run_panel(panel, "seg-grad-cam", layer="features.2")  # a run while it is shown in 3D
    assert not saliency.visible
    assert not prediction.visible
    viewer.dims.ndisplay = 2
    assert prediction.visible  # as it was
    assert not saliency.visible
    assert viewer.layers["volume"].visible


def test_every_method_says_what_its_values_are():
    for method in all_methods():
        for preset in ({}, *method.presets.values()):
            words = method.unit_of(method.make_options(dict(preset)))
            assert 5 < len(words) < 60, method.name
            assert "{" not in words.replace("{score}", ""), method.name
    assert (
        find_method("rise")
        .unit_of(find_method("rise").make_options({"score": "dice"}))
        .startswith("mean Dice")
    )
    asked = find_method("occlusion").unit_of(find_method("occlusion").make_options({}))
    assert asked == "{score} lost when hidden"
    wrapped = find_method("stable-explanation").make_options({"wraps": "occlusion"})
    assert find_method("stable-explanation").unit_of(wrapped) == asked

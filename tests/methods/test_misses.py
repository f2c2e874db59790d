"""Why was this missed? A region in which the network does not draw the label: what methods say, and what to use."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch
from helpers.networks import OBJECT, PATCH, LinearHead, card, planted_image, planted_model
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app
from napari_segxai.methods.registry import find_method, for_misses

WHERE = "planted predicts no pixel as 'object' in the region"
ASK = "to ask why it is missed, use counterfactual with preset appear, seg-hires-grad-cam or occlusion."
SHOWS = f"{WHERE}: the map shows what moves the label's score there, not why the label is drawn."
QUICK = {
    "rise": {"masks": 8},
    "grid-saliency": {"iterations": 5},
    "stable-explanation": {"wraps": "misure", "copies": 2},
}


def missed() -> sx.Target:
    region = np.zeros((32, 32), bool)
    region[12:15, 24:28] = True
    return sx.Target("object", region=region)


@pytest.mark.parametrize("method", ["misure", "counterfactual", "grid-saliency", "stable-explanation"])
def test_a_method_without_an_answer_names_what_has_one(method):
    found = sx.explain(planted_model(), planted_image(), missed(), method, **QUICK.get(method, {}))
    assert not found.map.any()
    *others, last = found.record.warnings
    assert last.startswith(WHERE)
    assert last.endswith(ASK)
    why = ["the map is zero everywhere: keeping the surroundings of the region"]
    assert [w.split(" costs")[0] for w in others] == (why if method == "grid-saliency" else [])


@pytest.mark.parametrize("method", ["rise", "occlusion", "integrated-gradients", "seg-hires-grad-cam"])
def test_a_map_of_a_miss_says_how_to_read_it(method):
    found = sx.explain(planted_model(), planted_image(), missed(), method, **QUICK.get(method, {}))
    assert found.map.any()
    assert SHOWS in found.record.warnings


def test_what_is_named_answers_there():
    model, image = planted_model(), planted_image()
    named = for_misses(model.capabilities)
    assert named == ["counterfactual with preset appear", "seg-hires-grad-cam", "occlusion"]
    assert for_misses({"gradients"}) == ["counterfactual with preset appear", "occlusion"]
    for one in named:
        method, _, preset = one.partition(" with preset ")
        found = sx.explain(model, image, missed(), method, **({"preset": preset} if preset else {}))
        assert found.record.results.get("status") != "empty", one
        assert found.map.any(), one


def test_what_a_method_needs_follows_its_options():
    options = find_method("counterfactual").make_options
    assert find_method("counterfactual").answers_drawn_alone(options({}))
    assert not find_method("counterfactual").answers_drawn_alone(options({"preset": "appear"}))
    wrapper = find_method("stable-explanation")
    for inner, alone in (("misure", True), ("occlusion", False)):
        assert wrapper.answers_drawn_alone(wrapper.make_options({"wraps": inner})) is alone


def test_channels_of_a_miss_are_refused_with_what_to_use():
    with pytest.raises(sx.UserError) as refused:
        sx.channel_importance(planted_model(), planted_image(), missed())
    assert str(refused.value) == f"{WHERE}, so no channel can matter to it; {ASK}"


def test_without_a_region_the_place_is_asked_for():
    image = sx.Image(np.zeros((32, 32), np.float32))
    found = sx.explain(planted_model(), image, "object", "occlusion")
    assert found.record.warnings[-1].startswith("planted predicts no pixel as 'object', so there is nothing")
    assert "choose the region where it should be and use counterfactual" in found.record.warnings[-1]


def test_a_drawn_region_has_no_such_note():
    region = np.zeros((32, 32), bool)
    region[(OBJECT[0], OBJECT[1])] = True
    found = sx.explain(planted_model(), planted_image(), sx.Target("object", region=region), "occlusion")
    assert not any("predicts no pixel" in warning for warning in found.record.warnings)


def test_a_zero_mask_of_a_drawn_object_is_no_zero_gradient():
    """Hiding the surroundings of everything that counts loses nothing: the empty mask is the right answer."""
    region = np.zeros((32, 32), bool)
    region[(OBJECT[0], OBJECT[1])] = region[(PATCH[0], PATCH[1])] = True
    target = sx.Target("object", region=region)
    found = sx.explain(planted_model(), planted_image(), target, "grid-saliency", iterations=60)
    assert not found.map.any()
    [said] = found.record.warnings
    assert "costs more than" in said
    assert "gradient" not in said


def test_slices_without_the_label_are_counted_whatever_the_method_says():
    volume = np.zeros((3, 32, 32), np.float32)
    volume[1] = planted_image().array
    found = sx.explain(planted_model(), sx.Image(volume), "object", "misure", iterations=0)
    assert [w for w in found.record.warnings if "predict" in w] == [
        "'object' is not predicted in 2 of 3 slices."
    ]


def test_a_slice_that_the_region_does_not_reach_is_no_miss():
    volume = np.stack([planted_image().array] * 2)
    region = np.zeros(volume.shape, bool)
    region[0, 16:26, 6:16] = True
    found = sx.explain(
        planted_model(), sx.Image(volume), sx.Target("object", region=region), "occlusion", slice=1
    )
    assert found.record.warnings[-1] == (
        "no pixel of the region lies in this slice, so there is nothing to explain and the map is zero."
    )


def test_the_command_line_says_the_same(tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "mynet.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.mix = torch.nn.Conv2d(1, 2, 1)\n\n    def forward(self, x):\n        return self.mix(x)\n"
    )
    net = torch.nn.Module()
    net.mix = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        net.mix.weight.copy_(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1))
        net.mix.bias.copy_(torch.tensor([1.0, 0.0]))
    torch.save(net.state_dict(), folder / "weights.pth")
    fields = {**card(name="tiny"), "architecture": "mynet:Net", "weights": "weights.pth"}
    (folder / "model.yaml").write_text(json.dumps(fields))
    image, region = np.zeros((16, 16), np.float32), np.zeros((16, 16), np.uint8)
    image[2:6, 2:6] = 1
    region[10:13, 10:13] = 1
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "region.tif", region)
    asked = ["--model", str(folder), "--trust", "--label", "object", "--region", str(tmp_path / "region.tif")]
    out = ["--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["explain", str(tmp_path / "image.tif"), *asked, *out])
    assert done.exit_code == 0, done.output
    said = "note: tiny predicts no pixel as 'object' in the region, so there is nothing to explain"
    assert said in done.stderr
    assert ASK in done.stderr


# -- more against the label than for it --------------------------------------------------------------


class Against(LinearHead):
    """A network whose features speak against the label alone, which its bias draws."""

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            for each in (self.features[0], self.features[2]):
                each.weight.abs_()
                each.bias.zero_()
            self.head.weight.copy_(torch.tensor([0.0, -1.0]).view(2, 1, 1, 1).expand_as(self.head.weight))
            self.head.bias.copy_(torch.tensor([-100.0, 100.0]))


def test_a_layer_map_that_speaks_against_the_label_says_so():
    model = sx.load_model(Against(), card=card(name="against"))
    image = planted_image()
    said = "more of the map speaks against the label than for it; try another network layer."
    found = sx.explain(model, image, "object", "seg-hires-grad-cam", layer="features.2")
    assert found.map.sum() < 0
    assert said in found.record.warnings
    other = sx.explain(planted_model(), image, "object", "seg-hires-grad-cam")
    assert other.map.sum() > 0
    assert said not in other.record.warnings
    flow = sx.information_flow(model, image, method="seg-hires-grad-cam")
    assert any("more of the map speaks against" in a for tile in flow.tiles.values() for a in tile.advice)

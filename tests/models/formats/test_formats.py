"""Loading models from every source but TorchScript, and registering them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from helpers.models import gray, unet, write_folder
from helpers.networks import LinearHead, card, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.models import registry as model_room


@pytest.mark.parametrize("name", ["brain-extraction", "selfie", "triangle"])
def test_built_in_models(name):
    model = sx.load_model(name)
    listed = next(entry for entry in sx.list_models() if entry["name"] == name)
    assert listed["labels"] == list(model.labels)
    assert model.source == f"built-in {name}"


def test_the_listing_has_the_keys_of_the_contract(monkeypatch):
    monkeypatch.setattr(model_room, "_registered", {})  # what other tests registered has no licence
    for entry in sx.list_models():
        assert {"name", "labels", "spatial_dims", "channels", "license", "provenance"} <= set(entry)
        assert entry["spatial_dims"] in (2, 3)
        assert entry["license"]
        assert entry["provenance"]


def test_a_model_folder(tmp_path):
    folder = write_folder(tmp_path / "liver")
    expected = unet()(torch.from_numpy(gray().array)[None, None]).argmax(1)[0]
    for source in (folder, str(folder), folder / "model.yaml"):
        model = sx.load_model(source)
        np.testing.assert_array_equal(model.predict(gray()), expected)
        assert model.source == "model folder liver"
    assert model.predict(gray()).dtype == np.uint8
    assert 0 < expected.sum() < expected.numel()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_a_model_folder_with_a_torch_file_of_tensors(tmp_path, wrap):
    folder = write_folder(tmp_path / "m", wrap(unet().state_dict()), weights="best.pt")
    reference = sx.load_model(unet(), card=card(grid={"multiple": 2}))
    np.testing.assert_array_equal(sx.load_model(folder).predict(gray()), reference.predict(gray()))


def test_weights_in_half_precision_are_read(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in unet().state_dict().items()}
    model = sx.load_model(write_folder(tmp_path / "m", state))
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}


def test_a_card_can_take_the_place_of_the_stored_one(tmp_path):
    folder = write_folder(tmp_path / "m")
    fields = yaml.safe_load((folder / "model.yaml").read_text())
    fields["labels"] = ["air", "tissue"]
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(fields))
    for given in (fields, tmp_path / "other.yaml", str(tmp_path / "other.yaml")):
        assert sx.load_model(folder, card=given).labels == ("air", "tissue")
    loaded = sx.load_model(folder)
    assert sx.load_model(loaded) is loaded
    again = sx.load_model(loaded, card=fields)
    assert (again.labels, again.module) == (("air", "tissue"), loaded.module)


def test_a_module_needs_a_card():
    with pytest.raises(sx.UserError, match=r"a LinearHead needs a card .*load_model\(network, card="):
        sx.load_model(LinearHead())
    with pytest.raises(sx.UserError, match="not a list"):
        sx.load_model(LinearHead(), card=["background", "object"])
    assert sx.load_model(LinearHead(), card=card()).source == "LinearHead given in a script"


def test_frozen_weights_count_for_the_digest(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.jit.save(torch.jit.freeze(torch.jit.script(nn.Conv2d(1, 2, 1).eval())), tmp_path / name)
    a, again, b = (sx.load_model(tmp_path / name, card=card()).sha256 for name in ("a.pt", "a.pt", "b.pt"))
    assert a == again != b


def test_names_that_are_no_model(tmp_path):
    with pytest.raises(sx.UserError, match=r"no model 'triangel'; did you mean 'triangle'\?"):
        sx.load_model("triangel")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(sx.UserError, match="is not a model; give a model folder"):
        sx.load_model(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(sx.UserError, match=r"model\.yaml: there is no such model card"):
        sx.load_model(tmp_path / "empty")


def test_arrays_are_images_and_only_models_are_registered():
    model = planted_model()
    np.testing.assert_array_equal(model.predict(gray().array), model.predict(gray()))
    with pytest.raises(sx.UserError, match="takes a model"):
        sx.register_model("mine", model)


def test_register_model(monkeypatch):
    monkeypatch.setattr(model_room, "_registered", {})
    model = sx.load_model(LinearHead(), card=card())
    assert sx.register_model(model) is model
    sx.register_model(model, "mine")
    assert sx.load_model("planted") is sx.load_model("mine") is model
    assert [entry["name"] for entry in sx.list_models()][-2:] == ["planted", "mine"]
    with pytest.raises(sx.UserError, match="did you mean 'planted'"):
        sx.load_model("plantde")
    with pytest.raises(sx.UserError, match="'triangle' is that of a built-in model"):
        sx.register_model(model, "triangle")
    own = sx.load_model("triangle")
    assert sx.register_model(own, "triangle") is sx.load_model("triangle") is own
    assert model_room.model_names().count("triangle") == 1
    assert sum(entry["name"] == "triangle" for entry in sx.list_models()) == 1


def test_a_model_is_made_of_a_network_and_any_form_of_a_card(tmp_path):
    fields = {"name": "planted", "labels": ["background", "object"], "spatial_dims": 2}
    (tmp_path / "card.yaml").write_text("name: planted\nlabels: [background, object]\nspatial_dims: 2\n")
    for given in (fields, tmp_path / "card.yaml", str(tmp_path / "card.yaml"), card()):
        model = sx.SegmentationModel(LinearHead(), given)
        assert model.labels == sx.load_model(LinearHead(), card=given).labels == ("background", "object")
    with pytest.raises(sx.UserError, match="unknown key 'lables'"):
        sx.SegmentationModel(LinearHead(), {**fields, "lables": ["a"]})
    with pytest.raises(sx.UserError, match="a card is a mapping, a YAML file or a ModelCard, not a NoneType"):
        sx.SegmentationModel(LinearHead(), None)
    with pytest.raises(sx.UserError, match=r"a network \(nn.Module\), not of a str; load_model"):
        sx.SegmentationModel("triangle", fields)

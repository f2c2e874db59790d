"""Folders that transformers and segmentation-models-pytorch save, and files of torchvision: the same network, on the same input."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from saved_networks import NETWORKS, SMP, save_smp, save_transformers
from skimage.data import astronaut
from torchvision.models import get_model_weights, segmentation

import napari_segxai as sx
from napari_segxai.models.formats.folder import CARD
from napari_segxai.models.formats.smp import card_of
from napari_segxai.models.loading.architecture import opened
from napari_segxai.models.loading.catalogue import known_networks
from napari_segxai.models.loading.signature import arguments_of
from napari_segxai.models.zoo.transformers import OF_QUERIES, semantic_map

PHOTO = astronaut()[:100, :150].copy()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folder_of_transformers_is_its_network_on_what_its_processor_gives(name, tmp_path):
    network, processor = save_transformers(name, tmp_path)
    model = sx.load_model(tmp_path)
    image = sx.Image(PHOTO, channel_axis=2)
    sees = model.prepare(image).tensor
    # Its middle is cut out elsewhere; here the whole image is seen, which the notes say.
    cut = {"do_center_crop": False} if getattr(processor, "do_center_crop", None) else {}
    assert any("cut out their middle" in note for note in model.notes) == bool(cut)
    wanted = processor(PHOTO, return_tensors="pt", **cut)["pixel_values"]
    inside = sees.flip(1) if model.card.arguments.get("flip_channels") else sees
    assert inside.shape == wanted.shape
    levels = 255 * min(processor.image_std) if processor.do_normalize else 255
    error = (inside - wanted).abs() * levels  # of 255: the processor rounds to whole numbers
    bicubic = model.card.grid.interpolation == "bicubic"
    assert error.max() < (4 if bicubic else 1.01)
    assert error.mean() < 0.5
    with torch.no_grad():
        out = network(pixel_values=inside)
        if type(network).__name__ in OF_QUERIES:
            logits = semantic_map(out.class_queries_logits, out.masks_queries_logits)
        else:
            logits = out.logits
        assert torch.equal(model.network_output(sees), logits)
        [labels] = processor.post_process_semantic_segmentation(out, target_sizes=[PHOTO.shape[:2]])
    assert (model.predict(image) == labels.numpy()).mean() > 0.99
    assert model.labels == ("background", "liver", "tumour")


@pytest.mark.parametrize("name", ["SegFormer", "Mask2Former"])
def test_methods_run_on_a_folder_of_transformers(name, tmp_path):
    save_transformers(name, tmp_path)
    model = sx.load_model(tmp_path)
    image = sx.Image(PHOTO, channel_axis=2)
    region = sx.Target("liver", region=np.ones(PHOTO.shape[:2], bool))
    for method, options in (
        ("seg-grad-cam", {}),
        ("integrated-gradients", {"steps": 4}),
        ("rise", {"masks": 8}),
    ):
        found = sx.explain(model, image, region, method, device="cpu", **options)
        assert np.isfinite(found.map).all()
        # Grad-CAM keeps what is positive alone, of which random weights need not have any.
        assert np.ptp(found.map) > 0 or method == "seg-grad-cam"


def test_the_same_network_can_be_written_as_a_model_folder(tmp_path):
    import yaml
    from safetensors.torch import save_file

    save_transformers("UperNet, Swin", tmp_path / "saved")
    model = sx.load_model(tmp_path / "saved")
    (tmp_path / "ours").mkdir()
    card = json.loads(model.card.model_dump_json(exclude_unset=True))
    (tmp_path / "ours" / CARD).write_text(yaml.safe_dump(card))
    save_file(model.module.state_dict(), tmp_path / "ours" / "weights.safetensors")
    again = sx.load_model(tmp_path / "ours")
    example = model.example()
    assert torch.equal(again.logits(example), model.logits(example))


def test_weights_of_another_network_are_refused(tmp_path):
    save_transformers("SegFormer", tmp_path)
    place = tmp_path / "config.json"
    settings = json.loads(place.read_text())
    place.write_text(json.dumps(settings | {"decoder_hidden_size": 16}))
    with pytest.raises(
        sx.UserError, match=r"the weights do not fit the network of config\.json: they are of other sizes"
    ):
        sx.load_model(tmp_path)
    place.write_text(json.dumps(settings | {"depths": [1, 1, 1, 2]}))
    with pytest.raises(sx.UserError, match="they lack 'segformer"):
        sx.load_model(tmp_path)


def test_weights_in_several_files_and_of_half_precision(tmp_path):
    network, _ = save_transformers("SegFormer", tmp_path)
    model = sx.load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = {f"module._orig_mod.{name}": value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")  # as some loops leave it
    example = model.example()
    assert torch.equal(sx.load_model(tmp_path).logits(example), model.logits(example))
    network.half().save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    half = sx.load_model(tmp_path)
    assert half.logits(example).dtype == torch.float32
    assert torch.allclose(half.logits(example), model.logits(example), atol=1e-3)


@pytest.mark.parametrize("name", SMP)
def test_a_folder_of_smp_is_its_network(name, tmp_path):
    network = save_smp(name, tmp_path)
    model = sx.load_model(tmp_path, card=card_of(tmp_path).suggested)
    example = model.example()
    with torch.no_grad():
        wanted = network(example)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    assert torch.equal(model.network_output(example), wanted)
    assert model.roles.last
    assert model.roles.bottlenecks


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_a_file_of_torchvision_is_its_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = get_model_weights(name).DEFAULT
    with pytest.raises(sx.UserError, match="is not on this machine"):
        sx.load_model(weights)
    folder = tmp_path / "hub" / "checkpoints"
    os.makedirs(folder)
    extra = {} if name.startswith("lraspp") else {"aux_loss": True}
    torch.manual_seed(0)
    network = getattr(segmentation, name)(weights=None, weights_backbone=None, **extra).eval()
    path = folder / PurePosixPath(weights.url).name
    torch.save(network.state_dict(), path)
    image = sx.Image(PHOTO, channel_axis=2)
    for model in (sx.load_model(weights), sx.load_model(path), sx.load_model(network, card=weights)):
        sees = model.prepare(image).tensor
        wanted = weights.transforms()(torch.from_numpy(PHOTO).movedim(-1, 0))[None]
        assert (sees - wanted).abs().max() * 255 * 0.225 < 0.6
        with torch.no_grad():
            assert torch.equal(model.network_output(sees[..., :64, :64]), network(sees[..., :64, :64])["out"])
        assert model.labels == tuple(weights.meta["categories"])
        assert not model.notes
    own = folder / f"{name}_liver.pth"
    torch.save({"model": network.state_dict(), "epoch": 3}, own)
    with pytest.raises(sx.UserError, match="labels: the names of its 21 outputs"):
        sx.load_model(own)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_torchvision_that_a_training_left_open_by_the_name_of_its_function(tmp_path, prefix):
    torch.manual_seed(0)
    network = segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True).eval()
    network.classifier[4] = torch.nn.Conv2d(
        512, 3, 1
    )  # as fine-tuning does; the second head keeps its 21 outputs
    state = {prefix + key: value for key, value in network.state_dict().items()}
    card = {"labels": ["background", "liver", "tumour"], "channels": ["r", "g", "b"], "intensity": []}
    for name, given in (
        ("best.pth", {"architecture": "torchvision.models.segmentation:fcn_resnet50"}),
        ("fcn_resnet50_liver.pth", {}),
    ):
        torch.save({"model": state, "epoch": 3}, tmp_path / name)
        model = sx.load_model(tmp_path / name, card=card | ({} if given else {"grid": {}}), **given)
        assert model.card.architecture == "torchvision.models.segmentation:fcn_resnet50" or not given
        assert any("aux_classifier" in note for note in model.notes)
        example = model.example()
        with torch.no_grad():
            assert torch.equal(model.network_output(example), network(example)["out"])
    again = sx.load_model(sx.save_model(sx.load_model(tmp_path / "best.pth", card=card, architecture="torchvision.models.segmentation:fcn_resnet50"), tmp_path / "saved"))  # fmt: skip
    assert again.card.arguments == {"num_classes": 3}


def test_weights_of_transformers_that_a_training_left_open_by_the_name_of_their_class(tmp_path):
    network, _ = save_transformers("SegFormer", tmp_path)
    torch.save({"model": network.state_dict()}, tmp_path / "best.pth")
    settings = json.loads((tmp_path / "config.json").read_text())
    arguments = {name: settings[name] for name in ("depths", "hidden_sizes", "num_attention_heads", "decoder_hidden_size")}  # fmt: skip
    card = {"labels": ["background", "liver", "tumour"], "channels": ["r", "g", "b"], "intensity": []}
    model = sx.load_model(
        tmp_path / "best.pth",
        card=card,
        architecture="transformers:SegformerForSemanticSegmentation",
        arguments=arguments,
    )
    assert model.card.arguments == {**arguments, "num_labels": 3}
    example = model.example()
    with torch.no_grad():
        assert torch.equal(model.network_output(example), network(pixel_values=example).logits)


def test_the_list_of_networks_names_what_is_installed_and_opens():
    names = [name for name in known_networks() if name.startswith(("torchvision", "transformers"))]
    assert "torchvision.models.segmentation:deeplabv3_resnet50" in names
    assert "transformers:Mask2FormerForUniversalSegmentation" in names
    for name in names:
        with opened(name, Path("card"), trust=False) as (network, _):
            told = {argument.name for argument in arguments_of(network) if not argument.required}
        assert told & {"num_labels", "num_classes"}
        assert not any(argument.required for argument in arguments_of(network))

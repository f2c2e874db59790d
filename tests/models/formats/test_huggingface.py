"""Folders that Hugging Face transformers saved, read without it; tests/peers opens the networks."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_segxai as sx
from napari_segxai.models.formats.huggingface.load import read_card
from napari_segxai.models.formats.huggingface.processor import preparation_of
from napari_segxai.models.formats.registry import all_formats
from napari_segxai.models.partial_card import CardIncomplete
from napari_segxai.models.registry import stored_card
from napari_segxai.models.zoo.transformers import LEAST, is_known, semantic_map

DATA = Path(__file__).parents[2] / "data" / "huggingface"

IMAGENET = {"normalize": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}}
HALVES = {"normalize": {"mean": (0.5,) * 3, "std": (0.5,) * 3}}


@pytest.fixture
def folder(tmp_path):
    """A copy of the SegFormer."""
    return Path(shutil.copytree(DATA / "segformer", tmp_path / "liver"))


def change(path: Path, **fields: object) -> None:
    settings = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in settings.items() if value != "left out"}))


def steps(card) -> list[dict]:
    return [step.model_dump(exclude_unset=True) for step in card.intensity]


def refused(folder: Path, **kwargs: object) -> str:
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(folder, **kwargs)
    return str(caught.value)


def test_a_segformer_has_its_labels_its_size_and_its_intensities(folder):
    card = stored_card(folder)
    assert card.labels == ("background", "liver", "tumour")
    assert (card.name, card.channels, card.spatial_dims) == ("liver", ("red", "green", "blue"), 2)
    assert card.grid.model_dump(exclude_unset=True) == {"size": (64, 96)}
    assert steps(card) == [{"divide": 255}, IMAGENET]
    assert card.architecture == "napari_segxai.models.zoo.transformers:SegformerForSemanticSegmentation"
    assert card.arguments["hidden_sizes"] == [4, 4, 8, 8]
    assert card.arguments["num_labels"] == 3
    assert not {"id2label", "_name_or_path", "dtype", "transformers_version"} & card.arguments.keys()


def test_what_its_loss_leaves_out_is_no_label_of_a_truth(folder):
    assert stored_card(folder).ignored_values == (255,)
    change(folder / "config.json", semantic_loss_ignore_index=254)
    assert stored_card(folder).ignored_values == (254,)
    change(folder / "config.json", semantic_loss_ignore_index=2)  # which is a label
    assert stored_card(folder).ignored_values == ()


def test_a_file_of_the_folder_stands_for_it(folder):
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        assert stored_card(folder / name) == stored_card(folder)


def test_a_mobilevit_has_red_first_here_and_blue_first_inside(tmp_path):
    card = stored_card(DATA / "mobilevit")
    assert card.channels == ("red", "green", "blue")
    assert card.arguments["flip_channels"] is True
    assert card.grid.shortest_edge == 544
    assert steps(card) == [{"divide": 255}]  # its processor does not normalise


def test_a_mask2former_keeps_the_shape_of_pixels(tmp_path):
    card = stored_card(DATA / "mask2former")
    wanted = {"shortest_edge": 800, "longest_edge": 1333, "edge_multiple": 32}
    assert card.grid.model_dump(exclude_unset=True) == wanted
    assert card.grid.fixed_size((480, 640)) == (800, 1088)  # 1066 before it is rounded up
    assert card.grid.fixed_size((300, 900)) == (448, 1344)  # 444 x 1332: the longest counts
    assert card.arguments["backbone_config"]["embed_dim"] == 8


def test_a_dpt_is_resampled_bicubically_within_8_bits():
    card = stored_card(DATA / "dpt")
    assert card.grid.interpolation == "bicubic"
    assert steps(card) == [{"clip": (0, 255)}, {"divide": 255}, HALVES]


@pytest.mark.parametrize("key", ["do_reduce_labels", "reduce_labels"])
def test_labels_that_a_training_numbered_from_1_are_told(key):
    settings = {"image_processor_type": "SegformerImageProcessor", key: True}
    where = DATA / "segformer" / "preprocessor_config.json"
    notes = preparation_of(settings, "segformer", 3, None, where).notes
    assert "read one label too high" in notes[0]
    assert not preparation_of({**settings, key: False}, "segformer", 3, None, where).notes


def test_settings_of_older_versions_have_what_was_usual_then(folder):
    old = {
        "feature_extractor_type": "SegformerFeatureExtractor",
        "do_resize": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.1],
        "reduce_labels": True,
        "resample": 2,
        "size": 512,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    card = stored_card(folder)
    assert card.grid.size == (512, 512)
    normalize = {"normalize": {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}}
    assert steps(card) == [{"divide": 255}, normalize]
    old = {"feature_extractor_type": "MobileViTFeatureExtractor", "size": 288, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    card = stored_card(folder)
    assert (card.grid.shortest_edge, card.arguments["flip_channels"]) == (288, True)
    old = {"feature_extractor_type": "MaskFormerFeatureExtractor", "size": 640, "max_size": 2560}
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    grid = stored_card(folder).grid
    assert (grid.shortest_edge, grid.longest_edge, grid.edge_multiple) == (640, 2560, 32)


@pytest.mark.parametrize(
    ("changed", "grid"),
    [
        ({"size": {"shortest_edge": 100}}, {"shortest_edge": 100}),
        ({"do_resize": False}, {}),
        ({"resample": 0}, {"size": (64, 96), "interpolation": "nearest"}),
        ({"resample": 1}, {"size": (64, 96), "interpolation": "bicubic"}),
        ({"size": [96, 64]}, {"size": (64, 96)}),
    ],
)
def test_ways_to_resize(folder, changed, grid):
    change(folder / "preprocessor_config.json", **changed)
    assert stored_card(folder).grid.model_dump(exclude_unset=True) == grid


def test_other_ways_to_prepare_values(folder):
    place = folder / "preprocessor_config.json"
    change(place, do_normalize=False)
    assert steps(stored_card(folder)) == [{"divide": 255}]
    change(place, do_rescale=False)
    assert steps(stored_card(folder)) == []
    change(place, do_rescale=True, rescale_factor=0.02)
    assert steps(stored_card(folder)) == [{"divide": 50}]
    change(place, rescale_factor=0.7)
    assert steps(stored_card(folder)) == [{"scale_shift": (0.7, 0)}]


def test_labels_lie_in_the_order_of_their_numbers(folder):
    names = {"10": "ten", "2": "two", "1": "one", "0": "zero"} | {str(k): f"n{k}" for k in range(3, 10)}
    change(folder / "config.json", id2label=names)
    assert stored_card(folder).labels == ("zero", "one", "two", *(f"n{k}" for k in range(3, 10)), "ten")
    change(folder / "config.json", id2label={"0": "wall", "1": " ", "2": "wall"})
    assert stored_card(folder).labels == ("wall (0)", "LABEL_1", "wall (2)")
    change(folder / "config.json", id2label="left out")
    assert stored_card(folder).labels == ("LABEL_0", "LABEL_1")
    change(folder / "config.json", id2label={"0": "nucleus"})
    card = stored_card(folder)
    assert (card.labels, card.activation) == (("background", "nucleus"), "sigmoid")


def test_what_a_folder_does_not_say_is_asked(folder):
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(folder)
    assert set(caught.value.missing) == {"grid", "intensity"}
    assert caught.value.partial.suggested["grid"] == {"size": [512, 512]}
    change(folder / "config.json", num_channels=1)  # for which the means of photographs suggest nothing
    assert read_card(folder).suggested["intensity"] == [{"divide": 255}]
    change(folder / "config.json", num_channels=3)
    card = read_card(folder).completed({"grid": {}, "intensity": [{"divide": 255}]})
    assert card.labels == ("background", "liver", "tumour")


def test_a_processor_that_resizes_in_a_way_of_its_own_asks_for_the_grid(folder):
    change(folder / "preprocessor_config.json", keep_aspect_ratio=True)
    with pytest.raises(CardIncomplete) as caught:
        sx.load_model(folder)
    assert set(caught.value.missing) == {"grid"}
    assert steps(read_card(folder).completed({"grid": {}})) == [{"divide": 255}, IMAGENET]


def test_checkpoints_of_a_training_are_named(tmp_path):
    for step in (500, 1000):
        shutil.copytree(DATA / "segformer", tmp_path / "run" / f"checkpoint-{step}")
    assert refused(tmp_path / "run").endswith(
        "holds 2 checkpoints; name one of them: checkpoint-500, checkpoint-1000."
    )
    assert stored_card(tmp_path / "run" / "checkpoint-500").name == "run checkpoint-500"
    shutil.rmtree(tmp_path / "run" / "checkpoint-500")
    assert stored_card(tmp_path / "run").name == "run checkpoint-1000"


def test_the_cache_of_the_hub_means_its_current_snapshot(tmp_path):
    cache = tmp_path / "models--someone--liver"
    for digest in ("aaa", "bbb"):
        shutil.copytree(DATA / "segformer", cache / "snapshots" / digest)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("bbb")
    change(cache / "snapshots" / "aaa" / "config.json", id2label={"0": "x", "1": "y"})
    card = stored_card(cache)
    assert (card.name, card.labels[1]) == ("someone/liver", "liver")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"auto_map": {"AutoModel": "modeling.Net"}}, "its network is code of its own (auto_map), which is not run"),
        ({"architectures": ["SegformerForImageClassification"]}, "a SegformerForImageClassification, which is no network for semantic"),
        ({"architectures": ["OneFormerForUniversalSegmentation"]}, "needs the words of its task beside the image"),
        ({"architectures": ["AutoModelForSemanticSegmentation"]}, "is no network for semantic segmentation"),
        ({"architectures": "left out"}, "names no network under `architectures`"),
        ({"quantization_config": {"load_in_4bit": True}}, "its weights are quantised"),
        ({"id2label": {"1": "liver", "2": "tumour"}}, "id2label has to give a name to each of the outputs"),
        ({"num_channels": "three"}, "num_channels is 'three'"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_said_in_a_sentence(folder, changed, said):
    change(folder / "config.json", **changed)
    assert said in refused(folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size": {"max": 3}}, "size is {'max': 3}; it needs height and width, or shortest_edge"),
        ({"size": {"height": 0.5, "width": 3}}, "a size is 0.5; it needs a whole number"),
        ({"image_mean": [1, 2]}, "image_mean is [1, 2]; it needs a number for each of the 3 channel(s)"),
        ({"rescale_factor": "a lot"}, "rescale_factor is 'a lot'"),
    ],
)
def test_an_image_processor_that_is_not_understood_is_named(folder, changed, said):
    change(folder / "preprocessor_config.json", **changed)
    assert said in refused(folder)


def test_weights_that_are_not_there_are_named(folder):
    weights = folder / "model.safetensors"
    weights.rename(folder / "tf_model.h5")
    assert "has no model.safetensors (those of TensorFlow are not read)" in refused(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}))
    (folder / "part-1.safetensors").write_bytes(b"x")
    assert "1 of 2 files of weights are missing (part-2.safetensors)" in refused(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../part-1.safetensors"}}))
    assert "names no files of weights that lie beside it" in refused(folder)


def test_an_adapter_alone_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "holds an adapter (PEFT)" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model_type":', "config.json: cannot be read ("),
        ("[1]", "config.json: holds no mapping"),
        ('{"sizes": 3}', "config.json: names no network ('sizes'), as transformers"),
    ],
)
def test_settings_that_are_cut_off_or_of_something_else_are_named(folder, text, said):
    (folder / "config.json").write_text(text)
    assert said in refused(folder)


def test_damaged_settings_are_nobodys(folder):
    (folder / "config.json").write_text("{")
    format_ = next(one for one in all_formats() if one.name == "huggingface")
    assert not format_.handles(folder)
    assert not format_.handles("segformer")
    assert not format_.handles(folder / "nothing.json")


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_the_package_that_is_needed_is_named(folder):
    said = refused(folder)
    assert said.endswith('which is not installed; run: pip install "napari-segxai[transformers]"')
    assert "the network needs the package transformers" in said


def test_networks_are_known_by_their_names():
    assert is_known("SegformerForSemanticSegmentation")
    assert is_known("MaskFormerForInstanceSegmentation")
    for name in ("AutoModelForSemanticSegmentation", "BertForMaskedLM", "os", "_ForSemanticSegmentation"):
        assert not is_known(name)


def test_the_map_of_queries_is_the_sum_of_what_each_draws():
    """Two queries, two labels: written out by hand."""
    classes = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 3.0, -1.0]]])
    masks = torch.tensor([[[[5.0, -5.0]], [[-1.0, 1.0]]]])
    weight, drawn = np.exp(classes[0].numpy()), 1 / (1 + np.exp(-masks[0].numpy()))
    weight /= weight.sum(1, keepdims=True)
    wanted = np.log(np.einsum("qc,qhw->chw", weight[:, :2], drawn) + LEAST)
    found = semantic_map(classes, masks)[0]
    assert found.numpy() == pytest.approx(wanted, rel=1e-5)


def test_the_map_of_queries_has_a_gradient_also_where_nothing_is_drawn():
    masks = torch.full((1, 2, 1, 3), -30.0, requires_grad=True)
    semantic_map(torch.zeros(1, 2, 3), masks).sum().backward()
    assert (masks.grad > 0).all()

"""Models of bioimage.io: what their descriptions say becomes a card, and their network is theirs; see scripts/make_bioimageio_folders.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.networks import LinearHead, card

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.gui.manifest.models import is_model
from napari_segxai.models.card import make_card
from napari_segxai.models.formats.bioimageio.load import read_card
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.partial_card import CardIncomplete

DATA = Path(__file__).parents[2] / "data" / "bioimageio"

WEIGHTS = {
    "pytorch_state_dict": {
        "source": "w.pt",
        "architecture": {"import_from": "torch.nn", "callable": "Conv2d"},
    }
}


def image_of(array: np.ndarray) -> sx.Image:
    """Return the image of (1 or more channels, *spatial)."""
    return sx.Image(array[0] if len(array) == 1 else array, channel_axis=None if len(array) == 1 else 0)


@pytest.mark.parametrize("name", ["cells", "volume"])
def test_input_and_output_are_those_of_bioimageio_s_own_predictor(name):
    model = sx.load_model(DATA / name, trust=True, card={"grid": {}})  # it was frozen without the halo
    frozen = np.load(DATA / name / "frozen.npz")
    tensor = model.prepare(image_of(frozen["image"])).tensor
    np.testing.assert_allclose(tensor.numpy(), frozen["input"], rtol=0, atol=2e-6)
    with torch.inference_mode():
        out = model.probabilities(model.logits(tensor))[:, 1:]
    np.testing.assert_allclose(out.numpy(), frozen["output"], rtol=0, atol=2e-6)
    predicted = model.predict(image_of(frozen["image"]))
    drawn = predicted if model.overlapping else predicted[None] == 1
    np.testing.assert_array_equal(drawn, frozen["output"][0] > 0.5)
    assert 0 < drawn.mean() < 1


@pytest.mark.parametrize("name", ["cells", "volume"])
def test_an_image_is_mirrored_around_itself_by_the_halo(name):
    model = sx.load_model(DATA / name, trust=True)
    frozen = np.load(DATA / name / "frozen.npz")
    halo = [before for before, _ in model.card.grid.pad.border]
    assert any(halo)
    seen = np.pad(frozen["input"], [(0, 0), (0, 0), *((width, width) for width in halo)], mode="reflect")
    prepared = model.prepare(image_of(frozen["image"]))
    np.testing.assert_allclose(prepared.tensor.numpy(), seen, rtol=0, atol=2e-6)
    with torch.inference_mode():
        out = model.module(torch.from_numpy(seen))
        own = model.logits(prepared.tensor)[:, 1:]
    torch.testing.assert_close(own, out, rtol=0, atol=1e-5)
    inner = out[
        (0, slice(None), *(slice(width, n - width) for width, n in zip(halo, out.shape[2:], strict=True)))
    ]
    predicted = model.predict(image_of(frozen["image"]))
    drawn = predicted if model.overlapping else predicted[None] == 1
    np.testing.assert_array_equal(drawn, inner.numpy() > 0)


def test_a_description_becomes_a_card():
    card = sx.load_model(DATA / "cells", trust=True).card
    assert card.labels == ("background", "foreground", "boundary")
    assert card.channels == ("membrane", "nucleus")
    assert (card.activation, card.values) == ("sigmoid", "logits")
    pad = card.grid.pad
    assert (pad.border, pad.multiple, pad.mode, pad.at) == (((4, 4),) * 2, (8, 8), "reflect", "end")
    first, second = (step.model_dump(exclude_unset=True) for step in card.intensity)
    assert first == {"percentile_range": (1.0, 99.8), "eps": 1e-6}
    assert second == {"clip": (-0.1, 1.1)}
    assert card.credit == "Nobody"
    old = sx.load_model(DATA / "volume", trust=True).card
    assert (old.labels, old.channels, old.spatial_dims) == (("background", "mitochondria"), ("input",), 3)
    assert [step.kind for step in old.intensity] == ["standardize", "scale_shift"]
    assert is_model(DATA / "cells")


def test_the_source_of_an_architecture_needs_a_yes_and_has_to_be_the_described_one(tmp_path):
    folder = shutil.copytree(DATA / "cells", tmp_path / "cells")
    with pytest.raises(UntrustedCode) as asked:
        sx.load_model(folder)
    assert asked.value.path == folder / "unet.py"
    (folder / "unet.py").write_text((folder / "unet.py").read_text() + "\nraise SystemExit\n")
    with pytest.raises(
        UserError, match=r"unet\.py: is not the file that rdf\.yaml describes \(its sha256 differs\)"
    ):
        sx.load_model(folder, trust=True)


def test_weights_that_were_cut_off_are_told_before_anything_is_read(tmp_path):
    folder = shutil.copytree(DATA / "cells", tmp_path / "cells")
    whole = (folder / "weights.pt").read_bytes()
    (folder / "weights.pt").write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"weights\.pt: is not the file that rdf\.yaml describes"):
        sx.load_model(folder, trust=True)
    (folder / "weights.pt").unlink()
    with pytest.raises(UserError, match="which is missing in"):
        sx.load_model(folder, trust=True)


def test_torchscript_is_taken_by_its_name_and_where_the_architecture_s_package_is_not_there(tmp_path):
    whole = sx.load_model(DATA / "cells", trust=True)
    script = sx.load_model(DATA / "cells" / "weights_script.pt")
    frozen = np.load(DATA / "cells" / "frozen.npz")
    seen = torch.from_numpy(frozen["input"])
    with torch.inference_mode():
        torch.testing.assert_close(script.logits(seen), whole.logits(seen), rtol=0, atol=1e-5)
    assert script.card == whole.card
    assert not script.has_layers
    assert whole.has_layers
    folder = shutil.copytree(DATA / "cells", tmp_path / "cells")
    fields = yaml.safe_load((folder / "rdf.yaml").read_text())
    fields["weights"]["pytorch_state_dict"]["architecture"] = {
        "import_from": "no_such_nets.unet",
        "callable": "Net",
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(fields))
    found = sx.load_model(folder)
    assert not found.has_layers
    assert any("'no_such_nets' of its architecture is not installed" in note for note in found.notes)


def described(folder: Path, **changes) -> Path:
    """Write a description of version 0.5 for one image and one output, with other keys in place of its own."""
    axes = [{"type": "batch"}, {"type": "channel", "channel_names": ["raw"]}]
    sizes = [{"type": "space", "id": axis, "size": {"min": 8, "step": 4}} for axis in "yx"]
    fields = {
        "format_version": "0.5.3",
        "type": "model",
        "name": "one",
        "inputs": [{"id": "raw", "axes": axes + sizes, **changes.pop("input", {})}],
        "outputs": [
            {"id": "mask", "axes": [axes[0], {"type": "channel", "channel_names": ["cell"]}, *sizes]}
            | changes.pop("output", {})
        ],
        "weights": WEIGHTS,
    } | changes
    (folder / "rdf.yaml").write_text(yaml.safe_dump(fields))
    return folder


def old(folder: Path, **changes) -> Path:
    """Write a description of version 0.4."""
    fields = {
        "format_version": "0.4.9",
        "name": "old",
        "inputs": [{"name": "raw", "axes": "bcyx", "shape": [1, 1, 64, 64], **changes.pop("input", {})}],
        "outputs": [{"name": "mask", "axes": "bcyx", "shape": [1, 1, 64, 64], **changes.pop("output", {})}],
        "weights": WEIGHTS,
    } | changes
    (folder / "rdf.yaml").write_text(yaml.safe_dump(fields))
    return folder


SPACE = [{"type": "space", "id": axis, "size": 8} for axis in "yx"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format_version": "0.3.2"}, "0.4 and 0.5 are known"),
        ({"type": "dataset"}, "no model"),
        ({"weights": {"onnx": {"source": "a.onnx"}, "keras_hdf5": {"source": "b.h5"}}}, r"holds Keras \(HDF5\) and ONNX weights alone"),
        ({"weights": {"torchscript": {"source": "https://example.com/w.pt"}}}, "nothing is fetched here"),
        ({"weights": {"torchscript": {"source": "../../w.pt"}}}, "lies outside of the model's folder"),
        ({"input": {"axes": [{"type": "batch"}, *SPACE, {"type": "channel", "channel_names": ["a"]}]}}, "the axes byxc"),
        ({"input": {"axes": [{"type": "batch"}, {"type": "hyper"}]}}, "holds an axis"),
        ({"input": {"preprocessing": [{"id": "sigmoid"}]}}, "'sigmoid' has no intensity step of a card"),
        ({"input": {"preprocessing": [{"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}}]}}, "rounds to 'uint8'"),
        ({"input": {"preprocessing": [{"id": "scale_range", "kwargs": {"axes": ["x"]}}]}}, "every position along y by itself"),
        ({"input": {"preprocessing": [{"id": "scale_range", "kwargs": {"axes": ["z"]}}]}}, "names the axis 'z'"),
        ({"input": {"preprocessing": [{"id": "clip", "kwargs": {"min": "low"}}]}}, "needs a number"),
        ({"output": {"postprocessing": [{"id": "stardist_postprocessing"}]}}, "makes objects of its outputs"),
        ({"output": {"axes": [{"type": "batch"}, {"type": "index", "size": 3}]}}, r"none of its outputs \(mask bi\)"),
        ({"weights": {"pytorch_state_dict": {"source": "rdf.yaml", "architecture": "../evil.py:Net"}}}, "a Python file in the folder"),
        ({"weights": {"torchscript": {"sha256": "ab"}}}, "weights torchscript name no file"),
        ({"weights": {"pytorch_state_dict": {"source": "rdf.yaml", "architecture": "Net"}}}, "says not where the class lies"),
        ({"weights": {"pytorch_state_dict": {"source": "rdf.yaml", "architecture": {"callable": "Net"}}}}, "says not where the class lies"),
    ],
)  # fmt: skip
def test_what_no_card_can_say_is_one_sentence(changes, sentence, tmp_path):
    given = {"values": "logits"}
    with pytest.raises(UserError, match=sentence):
        sx.load_model(described(tmp_path, **changes), card=given)


def test_two_inputs_are_refused(tmp_path):
    folder = described(tmp_path)
    fields = yaml.safe_load((folder / "rdf.yaml").read_text())
    fields["inputs"].append(fields["inputs"][0] | {"id": "prompt"})
    (folder / "rdf.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match=r"takes 2 tensors \(raw, prompt\)"):
        sx.load_model(folder)
    fields["inputs"][1]["optional"] = True
    (folder / "rdf.yaml").write_text(yaml.safe_dump(fields))
    assert read_card(folder).known["channels"] == ("raw",)


def test_what_is_not_said_is_asked(tmp_path):
    names = {
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["foreground", "boundary"]}, *SPACE]
    }
    partial = read_card(described(tmp_path, output=names))
    assert set(partial.asked) == {"labels", "activation", "values"}
    assert partial.suggested["activation"] == "sigmoid"
    with pytest.raises(CardIncomplete):
        partial.completed({"values": "logits"})
    given = {"values": "logits", "activation": "sigmoid", "labels": ["background", "foreground", "boundary"]}
    assert partial.completed(given).overlapping
    names["axes"][1]["channel_names"] = ["background", "boundary"]  # which leaves nothing open
    partial = read_card(described(tmp_path, output=names))
    assert partial.known["labels"] == ["background", "boundary"]
    assert set(partial.asked) == {"activation", "values"}
    names["axes"][1]["channel_names"] = ["foreground", "boundary"]
    told = names | {"postprocessing": [{"id": "softmax"}]}
    partial = read_card(described(tmp_path, output=told))
    assert not partial.asked
    assert partial.completed().labels == (
        "foreground",
        "boundary",
    )  # the first of a softmax is what the others are not


def test_values_and_thresholds(tmp_path):
    known = read_card(old(tmp_path, output={"data_range": [0, 1]})).known
    assert (known["values"], known["activation"]) == ("probabilities", "sigmoid")
    cut = {"postprocessing": [{"name": "sigmoid"}, {"name": "binarize", "kwargs": {"threshold": 0.3}}]}
    known = read_card(old(tmp_path, output=cut)).known
    assert (known["values"], known["threshold"]) == ("logits", 0.3)
    assert set(read_card(old(tmp_path, output={"data_range": [-3, 3]})).asked) == {"values"}


def test_one_size_is_a_window_and_steps_are_a_multiple(tmp_path):
    known = read_card(old(tmp_path, output={"halo": [0, 0, 8, 8]})).known
    assert known["windows"]["size"] == [64, 64]
    assert (known["windows"]["overlap"], known["windows"]["margin"]) == (0.25, [8, 8])
    assert known["grid"]["pad"] == {"border": [[8, 8], [8, 8]], "mode": "reflect"}
    shape = {"min": [1, 1, 36, 64], "step": [0, 0, 16, 32]}
    pad = {"size": [36, 64], "multiple": [16, 32], "at": "end", "mode": "reflect"}
    assert read_card(old(tmp_path, input={"shape": shape})).known["grid"] == {"pad": pad}
    grid = make_card({**card(), "grid": {"pad": pad}}).grid
    assert [grid.framed(n) for n in ((20, 70), (36, 64), (37, 97))] == [(36, 96), (36, 64), (52, 128)]
    mixed = {"min": [1, 1, 32, 64], "step": [0, 0, 0, 32]}
    assert "windows" in read_card(old(tmp_path, input={"shape": mixed})).asked


def test_windows_of_one_size_do_not_count_in_their_halo():
    """Their middles lie side by side: what is stitched is what every window says of its own middle."""
    fields = card(grid={"pad": {"border": [[4, 4], [4, 4]], "mode": "reflect"}})
    windows = {"size": [24, 24], "overlap": 1 / 3, "rule": "monai", "weighting": "constant", "margin": [4, 4]}
    whole, model = (
        sx.load_model(LinearHead(), card=fields),
        sx.load_model(LinearHead(), card=fields | {"windows": windows}),
    )
    image = sx.Image(np.random.default_rng(0).normal(size=(32, 48)).astype(np.float32))
    tensor = model.prepare(image).tensor
    assert tensor.shape[2:] == (40, 56)
    with torch.inference_mode():
        ours, one = model.logits(tensor), whole.logits(tensor)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(ours[inner], one[inner], rtol=0, atol=1e-5)  # its convolutions reach two cells
    with pytest.raises(UserError, match="margin of windows needs 2 numbers"):
        sx.load_model(LinearHead(), card=fields | {"windows": windows | {"margin": [12, 4]}})


def test_numbers_along_channels_and_numbers_that_yaml_reads_as_text(tmp_path):
    two = {"axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["a", "a"]}, *SPACE]}
    linear = {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": [2, 3], "offset": 1}}
    fixed = {
        "id": "fixed_zero_mean_unit_variance",
        "kwargs": {"axis": "channel", "mean": [1, 2], "std": [3, 4]},
    }
    clip = {"id": "clip", "kwargs": {"max_percentile": 99, "axes": ["y", "x"]}}
    joint = {"id": "zero_mean_unit_variance"}
    same = {"id": "zero_mean_unit_variance", "kwargs": {"eps": "1e-4", "axes": ["batch", "y", "x"]}}
    folder = described(tmp_path, input=two | {"preprocessing": [linear, fixed, clip, same, joint]})
    known = read_card(folder).known
    assert known["channels"] == ("a 0", "a 1")
    first, second, third, *rest = known["intensity"]
    assert (first, second) == (
        {"scale_shift": [2, 1], "channels": ["a 0"]},
        {"scale_shift": [3, 1], "channels": ["a 1"]},
    )
    assert third["normalize"]["std"] == pytest.approx([3, 4], abs=1e-5)
    assert rest[0] == {"clip_percentiles": [0, 99], "channels": ["a 0"]}
    assert rest[2:] == [
        {"standardize": "image", "eps": 1e-4},
        {"standardize": "image", "eps": 1e-6, "jointly": True},
    ]
    model = sx.load_model(DATA / "volume", trust=True)
    assert model.card.intensity[0].eps == 1e-5  # which 0.4 may say


def test_a_data_set_that_is_not_there_is_told(tmp_path):
    folder = shutil.copytree(DATA / "volume", tmp_path / "volume")
    text = (folder / "rdf.yaml").read_text().replace("mode: per_sample", "mode: per_dataset")
    (folder / "rdf.yaml").write_text(text)
    notes = sx.load_model(folder, trust=True).notes
    assert any("measures zero_mean_unit_variance over a whole data set" in note for note in notes)


def test_an_archive_is_to_be_unpacked(tmp_path):
    path = Path(shutil.make_archive(str(tmp_path / "model"), "zip", DATA / "cells"))
    with pytest.raises(UserError, match="is an archive; unpack it"):
        sx.load_model(path)


def test_a_card_of_our_own_goes_first(tmp_path):
    folder = shutil.copytree(DATA / "cells", tmp_path / "cells")
    (folder / "model.yaml").write_text("name: x\nlabels: [a, b]\nspatial_dims: 2\n")
    with pytest.raises(UserError, match="a model folder needs an architecture"):
        sx.load_model(folder)

"""What a copied script says of its model, and the files that it reads."""

from __future__ import annotations

import napari.plugins
import nibabel as nib
import numpy as np
import pytest
import tifffile
from helpers.networks import card
from helpers.scripts import PLACES, boxed, network, volume
from napari.components import ViewerModel

import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.gui.script.files import ScriptFiles
from napari_segxai.gui.script.write import model_lines
from napari_segxai.gui.viewer.displayed import displayed_image, joined
from napari_segxai.models.card import ModelCard

TRIANGLE = resource("sample_data/images/triangle_1.png")


def test_what_a_script_says_of_a_model(tmp_path, stored):
    assert model_lines(sx.load_model("triangle")) == ["model = sx.load_model('triangle')"]
    own = stored(2)
    other = sx.load_model(
        own, card=card(name="another card", arguments={"ndim": 2}, architecture="net:LinearHead")
    )
    lines = model_lines(other)
    assert lines[0].startswith("card = {'name': 'another card'")
    assert lines[-1] == f"# model = sx.load_model({str(own.path)!r}, card=card, trust=True)"
    with pytest.raises(NameError, match="make_network"):
        exec("\n".join(["import napari_segxai as sx", *model_lines(network(2))]))


def test_arrays_that_no_picture_holds_are_kept_by_numpy(tmp_path):
    files, image = ScriptFiles(), sx.Image(np.zeros((20, 18), np.float32), name="grey")
    stack = np.stack([boxed((20, 18)), ~boxed((20, 18))])  # the truth of labels that may overlap
    assert files.array(stack, image, image, "the truth", "truth") == "..."
    files.save_in(tmp_path, image.name)
    code = files.array(stack, image, image, "the truth", "truth")
    assert files.opening()[-1] == f"folder = Path({str(tmp_path / 'script_grey-1')!r})"
    space = {}
    exec("\n".join([*files.opening(), f"found = {code}"]), space)
    np.testing.assert_array_equal(space["found"], stack)
    assert [path.name for path in files.folder.iterdir()] == ["truth.npy"]


@pytest.fixture
def opened(mock_app_model):
    """A viewer without a window that opens files with the reader that is named, in an application of its own."""
    napari.plugins._initialize_plugins.cache_clear()
    napari.plugins._initialize_plugins()
    return ViewerModel()


def read_by(code: str) -> np.ndarray:
    return eval(code, {"sx": sx}).array


def test_scripts_read_the_files_of_joined_channels(tmp_path, opened):
    paths = [volume(tmp_path / name) for name in ("t1.nii.gz", "t2.nii.gz")]
    values = nib.load(paths[1]).get_fdata(dtype=np.float32) + 1
    nib.save(nib.Nifti1Image(values, PLACES), paths[1])
    layers = opened.open(paths, plugin="napari-segxai")[::-1]  # in the order of the model, not of the files
    image = joined(layers, opened, ModelCard.model_validate(card(3, channels=["a", "b"]))).image
    assert image.array.shape == (2, 6, 7, 5)
    layers[1].data += 7  # what was explained is what counts
    files = ScriptFiles()
    code, seen = files.image(image, "the image")
    assert code == f"sx.read_image({paths[::-1]!r})"
    assert not files.wanted
    assert seen.spatial_shape == (7, 6, 5)  # as the first file stores it
    np.testing.assert_array_equal(read_by(code)[0], values)
    again = joined(layers, opened, ModelCard.model_validate(card(3, channels=["a", "b"]))).image
    assert ScriptFiles().image(again, "the image")[0] == "..."  # one of them is in no file now


@pytest.mark.parametrize(
    ("axes", "said", "note"),
    [
        (None, ", axes='ZYX')", "2D model: plane 2 of axis 0, which is shown."),
        ("ZYX", ", axes='ZYX')", "2D model: slice z = 2, which is shown."),
        ("TYX", ").frame(2)", "Frame t = 2, which is shown."),
        ("CYX", ").frame(2)", "The model takes one channel: channel 2, which is shown."),
    ],
)
def test_scripts_read_a_series_as_it_was_read(tmp_path, opened, axes, said, note):
    """The file says time, but napari's own reader does not pass it on."""
    stack, path = np.arange(5 * 9 * 8, dtype=np.uint16).reshape(5, 9, 8), str(tmp_path / "series.tif")
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
    [layer] = opened.open(path, plugin="napari")
    found = displayed_image(layer, opened, ModelCard.model_validate(card(2)), axes=axes)
    assert found.notes == (note,)
    files = ScriptFiles()
    code, _ = files.image(found.image, "the image")
    assert code == f"sx.read_image({path!r}{said}"
    np.testing.assert_array_equal(read_by(code), found.image.array)


def test_folders_of_scripts_have_short_names(tmp_path):
    files = ScriptFiles()
    files.save_in(tmp_path, "a picture whose name goes on and on, as those of microscopes do")
    assert len(files.folder.name) < 45

import subprocess
import sys

import pytest

from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need


def test_what_is_installed_is_imported():
    assert need("json.decoder", "cohort", "The report").JSONDecoder


def test_what_is_missing_is_named_with_the_way_to_get_it():
    with pytest.raises(
        UserError, match=r'The report needs the package nowhere_to_be.*"napari-segxai\[cohort\]"'
    ):
        need("nowhere_to_be.found", "cohort", "The report")


def test_a_package_that_lacks_something_itself_is_not_called_missing(tmp_path):
    (tmp_path / "half_there.py").write_text("import nowhere_to_be")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom napari_segxai.core.extras import need\nneed('half_there', 'x', 'It')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: No module named 'nowhere_to_be'" in run.stderr


def test_a_torchvision_that_does_not_fit_torch_is_named_whatever_failed_for_it(tmp_path, monkeypatch):
    """transformers and others raise errors of their own, from the one that says why."""
    monkeypatch.setattr("napari_segxai.core.errors.version", lambda name: "9.9")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needs_it.py").write_text(
        "try:\n    raise RuntimeError('operator torchvision::nms does not exist')\n"
        "except RuntimeError as error:\n    raise ModuleNotFoundError('Could not import module X') from error\n"
    )
    with pytest.raises(
        UserError,
        match=r"^The network needs needs_it: torchvision 9\.9 was built for another torch than torch 9",
    ):
        need("needs_it", "smp", "The network")

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

"""Libraries with symbols that Mesa's LLVM has, too, are bound to their own before they are imported."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from napari_segxai.gui import triton_library

ONLY_LINUX = pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="libraries are bound otherwise")


@ONLY_LINUX
def test_the_library_of_triton_is_bound_to_itself_when_it_is_imported_and_not_before(tmp_path, monkeypatch):
    folder = tmp_path / "triton" / "_C"
    folder.mkdir(parents=True)
    for one in (folder.parent, folder):
        (one / "__init__.py").write_text("")
    (folder / "libtriton.py").write_text("here = 1")
    (folder / "other.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    bound = []
    monkeypatch.setattr(triton_library, "load", bound.append)
    triton_library.guard()
    triton_library.guard()
    assert sys.meta_path.count(triton_library.OwnSymbolsFirst) == 1
    importlib.import_module("triton._C.other")
    assert bound == []
    assert importlib.import_module("triton._C.libtriton").here == 1
    assert bound == [str(folder / "libtriton.py")]
    for name in ("triton", "triton._C", "triton._C.other", "triton._C.libtriton"):
        del sys.modules[name]  # monkeypatch puts back those that were there


@ONLY_LINUX
def test_what_is_no_library_is_left_to_the_import(tmp_path):
    triton_library.load(str(tmp_path / "none.so"))


@pytest.mark.skipif(find_spec("triton") is None, reason="comes with torch for CUDA")
def test_triton_is_imported_beside_an_open_window():
    """The real thing, where triton is installed; a crash ends a process of its own."""
    code = "import napari; from napari_segxai.gui import worker; v = napari.Viewer(show=False); from triton._C import libtriton; print('ok')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("ok"), done.stderr

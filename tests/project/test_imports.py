"""What importing costs, and what the core can do without."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )


def test_importing_the_package_loads_nothing_heavy():
    done = run(
        """
        import sys
        import napari_segxai
        heavy = {"torch", "napari", "qtpy", "PyQt6", "nibabel", "numpy", "skimage", "pydantic", "typer", "yaml"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_engine_and_explainers_need_torch_numpy_and_scikit_image_alone():
    done = run(
        """
        import sys

        class Blocked:
            names = {"nibabel", "napari", "qtpy", "PyQt6", "pydantic", "yaml", "typer", "safetensors", "magicgui",
                     "superqt", "tqdm", "pandas"}
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in self.names:
                    raise ModuleNotFoundError(f"{name} is blocked", name=name)

        sys.meta_path.insert(0, Blocked())
        import pkgutil, importlib
        from napari_segxai import engine, methods, metrics
        for package in (engine, methods, metrics):
            for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
                importlib.import_module(info.name)
        from napari_segxai.methods.registry import all_methods
        from napari_segxai import Image, Target
        import napari_segxai.analyses.explain.result
        print(len(all_methods()))
        """
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5


def test_every_public_name_is_there():
    import napari_segxai as sx

    for name in sx.__all__:
        assert getattr(sx, name) is not None
    assert callable(sx.explain)
    assert callable(sx.list_models)
    assert callable(sx.list_methods)
    assert "explain" in dir(sx)


def test_napari_and_qt_are_imported_in_the_gui_room_alone():
    import re
    from pathlib import Path

    import napari_segxai

    root = Path(napari_segxai.__file__).parent
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] == "gui":
            continue
        found = re.findall(
            r"^\s*(?:from|import) (napari|qtpy|magicgui|superqt)\b(?!_)", path.read_text(), re.M
        )
        assert not found, path
        if path.parent.name != "cli" and path.name != "__init__.py":
            assert "napari_segxai.gui" not in path.read_text(), path

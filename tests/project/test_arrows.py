"""Arrows between rooms and files go one way: every import is read, also those of types and inside functions."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import napari_segxai

ROOT = Path(napari_segxai.__file__).parent
ROOMS = "core io datasets figures models engine metrics methods analyses checks export gui cli".split()  # noqa: SIM905
"""In this order: a room may import those before it (docs/architecture.md)."""

EXCEPTIONS: set[str] = set()


def modules() -> dict[str, Path]:
    """Return the files by the name of their module."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules of this package that a file imports."""
    found, targets = set(), set(known)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & targets) or {node.module}
    return found & targets


def room(module: str) -> int:
    """Return the place of a module's room; the public names of the package lie above all but the command line."""
    name = [*module.split("."), ""][1]
    return ROOMS.index(name) if name in ROOMS else len(ROOMS) - 2 + (name == "__main__")


@cache
def arrows() -> dict[str, set[str]]:
    """Return for every module what it imports."""
    known = modules()
    return {module: imports(path, known) for module, path in known.items()}


def test_rooms_import_only_rooms_before_them():
    wrong = {
        f"{module} -> {target}"
        for module, targets in arrows().items()
        for target in targets
        if room(target) > room(module)
    }
    assert wrong == EXCEPTIONS


def test_no_files_name_each_other_in_a_loop():
    graph = {module: targets - {module} for module, targets in arrows().items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as loop:
        raise AssertionError(" -> ".join(loop.args[1])) from None


def test_the_page_of_architecture_has_the_rooms_in_the_order_of_the_test():
    text = (ROOT.parent / "docs" / "architecture.md").read_text()
    assert f"\n    {' '.join(ROOMS)}\n" in text
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == ROOMS
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    tree = text.partition("```\nnapari_segxai/")[2].partition("```")[0]
    for path in ROOT.rglob("__init__.py"):
        assert f"{path.parent.name}/" in tree or path.parent == ROOT, path.parent


def test_plain_metrics_take_arrays_and_functions_alone():
    known = modules()
    below = "napari_segxai.metrics.functional"
    allowed = {
        below,
        "napari_segxai.core",
        "napari_segxai.engine.masking.baselines",
        "napari_segxai.engine.scores",
        "napari_segxai.models.preprocessing.resample",
    }
    wrong = {
        f"{module} -> {target}"
        for module, path in known.items()
        for target in imports(path, known)
        if module.startswith(below)
        and not any(target == one or target.startswith(f"{one}.") for one in allowed)
    }
    assert not wrong


def test_every_analysis_is_a_folder_of_the_same_files():
    for folder in (path.parent for path in ROOT.glob("analyses/*/__init__.py")):
        assert {"api.py", "plan.py", "run.py", "result.py"} <= {path.name for path in folder.glob("*.py")}, (
            folder
        )


def test_every_folder_is_installed():
    """pyproject.toml names the packages one by one, since the sample data lie beside them."""
    import tomllib

    listed = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("*.py")}
    assert folders | {"napari_segxai_resources"} == set(listed)


def test_no_file_is_long_and_no_folder_is_full():
    """A new thing is a new file; a folder of more than about twenty is divided by what its files are about."""
    project = ROOT.parent
    files = [
        path
        for folder in ("napari_segxai", "tests", "benchmarks", "reproduction", "scripts")
        for path in (project / folder).rglob("*.py")
    ]
    long = {path: n for path in files if (n := len(path.read_text(encoding="utf-8").splitlines())) > 450}
    assert not long
    full = {folder: n for folder, n in Counter(path.parent for path in files).items() if n > 22}
    assert not full

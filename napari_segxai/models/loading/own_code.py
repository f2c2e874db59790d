"""A network in a file of the user's own: from which folder its imports count, importing it, and which files it takes."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path

ABOVE = 4
"""Folders that are looked through for what a file imports: its own, and those above it."""

LONGEST = 1 << 22
"""Bytes of a file of code that is looked into."""


def is_own(architecture: str) -> bool:
    """Tell whether an architecture is written "file.py:Class"."""
    return architecture.rpartition(":")[0].endswith(".py")


def own_place(architecture: str) -> tuple[Path, str]:
    """Return the folder from which the imports of "file.py:Class" count, and its place below it: "package.module:Class".

    Nothing of the file is run.

    Raises
    ------
    UserError
        If there is no such file or class, or its name cannot be imported.
    """
    text, _, name = architecture.rpartition(":")
    file = user_path(text).absolute()
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; write architecture as 'my_net.py:Net'.")
    found = classes_in(file)
    if name.partition(".")[0] not in found:
        known = ", ".join(found) or "none at all"
        raise UserError(f"{file}: defines no class {name!r}; its classes are {known}.")
    root = _root(file)
    parts = file.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
    if not all(part.isidentifier() for part in parts):
        raise UserError(
            f"{file}: cannot be imported under this name; rename it to letters, digits and underscores."
        )
    return root, f"{'.'.join(parts)}:{name}"


def classes_in(file: Path) -> tuple[str, ...]:
    """Return the names of the classes that a file of Python defines or imports, those with a `forward` first, without running it.

    Raises
    ------
    UserError
        If it is not Python.
    """
    body = _parsed(file).body
    own = [node for node in body if isinstance(node, ast.ClassDef)]
    networks = [
        node.name
        for node in own
        if any(isinstance(part, ast.FunctionDef) and part.name == "forward" for part in node.body)
    ]
    imported = [
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and file.name == "__init__.py"
        for alias in node.names
    ]
    return tuple(dict.fromkeys([*networks, *(node.name for node in own), *imported]))


def _parsed(file: Path) -> ast.Module:
    try:
        if file.stat().st_size > LONGEST:
            raise UserError(f"{file}: is too long for a file that defines a network.")
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{file}: is not Python ({str(error).splitlines()[0]}).") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}).") from None


def _root(file: Path) -> Path:
    """Return the folder from which a file's imports count: above its package, and where its other imports lie."""
    folders = [file.parent]
    while (folders[-1] / "__init__.py").is_file() and folders[-1].parent != folders[-1]:
        folders.append(folders[-1].parent)
    above = list(file.parents)[:ABOVE]
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.ImportFrom) and node.level:
            folders.append(file.parents[min(node.level, len(file.parents) - 1)])
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
        for top in {name.partition(".")[0] for name in names if name}:
            if not _is_installed(top):
                folders += [folder for folder in above if _holds(folder, top)][:1]
    return min(folders, key=lambda folder: len(folder.parts))


def _holds(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or any((folder / name).glob("*.py"))


def _is_installed(name: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    try:
        spec = find_spec(name)
    except (ValueError, ImportError):
        return False
    return (
        spec is not None
        and spec.origin is not None
        and not {"site-packages", "dist-packages"}.isdisjoint(Path(spec.origin).parts)
    )


@contextmanager
def own_modules(file: Path, root: Path, place: str) -> Generator[list[ModuleType]]:
    """While open, what lies beside a file and in the folder of its imports can be imported, as if Python had been started there.

    Parameters
    ----------
    file
        That of the network.
    root
        The folder from which its imports count.
    place
        Its module, counted from there.

    Yields
    ------
    list
        After it was closed: the modules that were imported from there. They are forgotten, so that another model's `utils`
        is not taken for this one's.
    """
    folders = list(dict.fromkeys([str(file.parent), str(root)]))
    names = {
        path.stem
        for folder in folders
        for path in Path(folder).iterdir()
        if path.suffix == ".py" or path.is_dir()
    }
    tops = {name.partition(".")[0] for name in sys.modules} & names
    # A folder of the name of a package that is installed does not hide that; the network's own package does.
    tops = {top for top in tops if not _is_installed(top) and top != __name__.partition(".")[0]}
    tops |= {place.partition(".")[0]} if "." in place or file.name == "__init__.py" else set()
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in tops}
    for name in hidden:
        del sys.modules[name]
    before, found = set(sys.modules), []
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield found
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            places = (
                [module.__file__] if getattr(module, "__file__", None) else getattr(module, "__path__", [])
            )
            if any(Path(str(place)).absolute().is_relative_to(root) for place in places):
                found.append(sys.modules.pop(name))
        sys.modules.update(hidden)


def import_own(file: Path, name: str, root: Path) -> ModuleType:
    """Import the module `name`, which lies in `file`, while `own_modules` is open."""
    if "." in name or file.name == "__init__.py":
        return importlib.import_module(name)
    alias = name if name not in sys.modules else "napari_segxai_model_" + re.sub(r"\W", "_", root.name)
    spec = importlib.util.spec_from_file_location(alias, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module

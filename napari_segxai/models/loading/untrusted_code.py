"""Whose code a model card may run: importing a module is running it.

A card names the class of its network, and a card comes from a stranger. Modules that are known to hold networks are
imported as they are (`KNOWN`, packages that announce themselves, packages that the user allowed); anything else only after an
explicit yes that names the module and its file.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_segxai.core.arguments import quoted
from napari_segxai.core.errors import UserError, nearest

KNOWN = (
    "napari_segxai.models.zoo",
    "torch.nn",
    "torchvision.models",
    "monai.networks",
    "segmentation_models_pytorch",
    "dynamic_network_architectures.architectures",
    "dynamic_network_architectures.building_blocks",
    "timm.models",
    "timm.layers",
)
"""Modules that hold networks, each with what is below it; of the rest of these packages a card needs nothing."""

TRANSFORMERS = re.compile(r"transformers(\.models(\.\w+(\.modeling_\w+)?)?)?")
"""Of transformers the modules that define models: beside them lie scripts that convert weights."""

ANNOUNCED = "napari_segxai.networks"
"""Entry points of this group name modules that hold networks, e.g. ``mynets = "mynets.nets"``."""

SETTINGS = "settings.yaml"

_allowed: set[str] = set()


class UntrustedCode(UserError):
    """A model needs Python code that is not known to hold networks.

    Attributes
    ----------
    path
        The file that would run.
    module
        The module that would be imported; "" for a file that is a program itself.
    runs
        What would run, as the object of a sentence.
    """

    def __init__(self, where: str, module: str, path: Path, *, beside: bool = False, own: bool = False):
        self.module, self.path, self.runs = module, path, f"the Python module {module}"
        why = "which is not known to hold networks"
        if own:
            why = "a file of its own, which is run only after a yes"
        elif beside:
            why = "which came with the card: allowing a package allows what is installed, not a file of that name"
        super().__init__(
            f"{where} would run the module {module!r} ({path}), {why}; if you trust it, load the model with trust=True "
            "(--trust on the command line)."
        )


class UntrustedProgram(UntrustedCode):
    """A TorchScript file does more than compute."""

    def __init__(self, path: Path, what: str):
        self.module, self.path, self.runs = "", path, f"a program, which uses {what!r},"
        UserError.__init__(
            self,
            f"{path}: its code uses {what!r}, with which it could write or read files or run while it is loaded; a network only "
            "computes. If you trust it, load it with trust=True (--trust on the command line).",
        )


def allow_package(name: str) -> None:
    """Let model cards name networks of a package, until the process ends.

    The same can be said once and for all in the settings file; see `settings_file`.

    Parameters
    ----------
    name : str
        Of an installed package or module, such as "mynets" or "mynets.nets"; what is below it is allowed as well. Code
        that lies beside a card is not: it comes from whoever wrote the card, under any name. Load that model with trust.

    Raises
    ------
    UserError
        If it is not the name of a public module.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.allow_package("mynets")
    """
    _allowed.add(_checked(name, "allow_package"))


def allowed_packages() -> list[str]:
    """Return what `allow_package` has allowed until now."""
    return sorted(_allowed)


def settings_file() -> Path:
    """Return where the settings are, whether they exist or not: a YAML file with a list of ``packages``."""
    from platformdirs import user_config_path

    return user_config_path("napari-segxai", appauthor=False) / SETTINGS


def is_private(place: str) -> bool:
    """Tell whether "package.module:Class" has a part that begins with an underscore, such as ``__main__``."""
    return any(part.startswith("_") for part in re.split("[.:]", place))


def needs_yes(module: str) -> bool:
    """Tell whether importing `module` needs the user's yes."""
    if any(_below(module, name) for name in (*_allowed, *_from_settings())):
        return False
    top = spec_of(module)
    if top is None or not _installed(top):
        return True
    known = any(_below(module, name) for name in (*KNOWN, *_announced()))
    return not (known or TRANSFORMERS.fullmatch(module))


def spec_of(module: str) -> ModuleSpec | None:
    """Return where the top-level package of `module` comes from; None if there is none."""
    try:
        return find_spec(module.partition(".")[0])
    except ValueError:  # a module without a place of its own
        return None


def file_of(module: str) -> Path:
    """Return the file that would be run first for `module`, without importing its parents."""
    spec = spec_of(module)
    assert spec is not None
    file = Path(spec.origin or next(iter(spec.submodule_search_locations or ["?"])))
    folder = Path(next(iter(spec.submodule_search_locations or [file.parent])))
    for part in module.split(".")[1:]:
        found = [folder / part / "__init__.py", folder / f"{part}.py"]
        file = next((path for path in found if path.is_file()), file)
        folder /= part
    return file


def _below(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


@cache
def _announced() -> tuple[str, ...]:
    """Return the modules that installed packages announce."""
    return tuple(
        point.module
        for point in entry_points(group=ANNOUNCED)
        if point.dist is not None and _in_site(Path(str(point.dist.locate_file(""))))
    )


def _from_settings() -> list[str]:
    """Return the packages that the settings file allows.

    Raises
    ------
    UserError
        If the file is there but cannot be read.
    """
    from napari_segxai.models.loading.yaml_file import read_mapping

    path = settings_file()
    if not path.exists():
        return []
    fields: dict[str, Any] = read_mapping(path, "settings file")
    for key in fields:
        if key != "packages":
            raise UserError(f"{path}: unknown key {key!r}; {nearest(str(key), ['packages'])}")
    packages = fields.get("packages") or []
    if not isinstance(packages, list):
        raise UserError(f"{path}: packages is a list of names, such as [mynets].")
    return [_checked(name, str(path)) for name in packages]


def _checked(name: Any, where: str) -> str:
    if not (isinstance(name, str) and re.fullmatch(r"\w+(\.\w+)*", name)) or is_private(name):
        raise UserError(
            f"{where}: {quoted(name)} is not the name of a public package, such as 'mynets' or 'mynets.nets'."
        )
    if name.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(f"{where}: {name!r} is part of Python, which has no networks.")
    return name


def _installed(spec: ModuleSpec) -> bool:
    """Tell whether a top-level package lies where packages are installed, and not in the working folder."""
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    own = Path(__file__).parents[2]
    return bool(places) and all(_in_site(Path(p)) or Path(p).resolve().is_relative_to(own) for p in places)


def _in_site(path: Path) -> bool:
    roots = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        roots.append(site.getusersitepackages())
    return any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots)

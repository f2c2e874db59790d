"""Hold the docstrings of the public names against numpydoc: `make lint` and pre-commit run this.

Public are the names of `napari_segxai/__init__.pyi` and the methods and properties of the classes among them. Every
parameter has a type and a description, in the order of the signature; what is returned is said. Shapes, units and value
ranges stand in words, since annotations have none. Left out, with the reason:

- ES01, SA01, EX01 (longer text, See Also, Examples): where they help, not everywhere. GL02 is a matter of layout, which ruff checks.
- `..._steps` is the function of the same name one step at a time, and says so instead of repeating its parameters.
- A method whose first line says what it returns needs no section for it; a result class, which nobody makes by hand, has
  Attributes instead of Parameters.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from numpydoc.validate import validate

import napari_segxai as sx

CHECKS = frozenset(
    [
        "GL01",
        "GL03",
        "GL05",
        "GL06",
        "GL07",
        "GL08",
        "GL10",
        "SS01",
        "SS02",
        "SS03",
        "SS04",
        "PR01",
        "PR02",
        "PR03",
        "PR04",
        "PR05",
        "PR07",
        "PR08",
        "PR09",
        "PR10",
        "RT01",
        "RT03",
        "RT04",
        "RT05",
    ]
)


def public_names() -> Iterator[tuple[str, object]]:
    """Yield the public names, and what belongs to public classes, with the objects."""
    for name in sorted(set(sx.__all__) - {"__version__"}):
        thing = getattr(sx, name)
        yield name, thing
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and isinstance(
                    value, property | classmethod | staticmethod | type(public_names)
                ):
                    yield f"{name}.{member}", value


def spared(name: str, thing: object, doc: str) -> set[str]:
    """Return the checks that do not hold for a name; the reasons stand above."""
    if name.endswith("_steps") and f"`{name.removesuffix('_steps').rpartition('.')[2]}`" in doc:
        return {"PR01", "PR04", "RT01"}
    if inspect.isclass(thing):
        return {"PR01"} if "Attributes\n" in doc or issubclass(thing, Exception) else set()
    if "." in name and doc.strip().startswith(("Return ", "Say ", "Tell ", "Yield ")):
        return {"RT01"}
    return set()


def faults() -> list[str]:
    """Return a line for every fault."""
    found = []
    for name, thing in public_names():
        doc = inspect.getdoc(thing) or ""
        left_out = spared(name, thing, doc)
        for code, message in validate(f"napari_segxai.{name}")["errors"]:
            if code in CHECKS - left_out:
                found.append(f"{name}: {code} {message}")
    return found


if __name__ == "__main__":
    lines = faults()
    print("\n".join(lines) or "The docstrings of the public names are complete.")
    sys.exit(bool(lines))

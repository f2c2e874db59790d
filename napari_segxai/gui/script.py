"""A result as a Python script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_segxai.explainers.registry import find_method


def python_of(record: Mapping[str, Any], *, layer: str, region: str | None = None, frame: int = 0) -> str:
    """Return Python code that makes an explanation again.

    Parameters
    ----------
    record
        The record of the explanation, as a dict.
    layer
        Name of the layer that was explained.
    region
        Python code for the region in the axes of that layer; None for the predicted pixels.
    frame
        Time point.
    """
    target, path = record["target"], record["image"]["path"]
    source = record["model"]["source"]
    from_file = path is not None and region in (None, repr("image"))
    lines = ["import napari_segxai as sx", ""]
    if from_file:
        lines.append(f"image = sx.read_image({path!r})" + (f".frame({frame})" if frame else ""))
    else:
        lines += [
            "import napari",
            "viewer = napari.current_viewer()",
            f"image = sx.image_of_layer(viewer.layers[{layer!r}], frame={frame})",
        ]
    if source.startswith("built-in "):
        lines.append(f"model = sx.load_model({source.removeprefix('built-in ')!r})")
    else:
        known = record["model"].get("path") or record["model"]["name"]
        lines.append(f"model = sx.load_model({known!r})")
    arguments = [repr(target["label"])]
    if region is not None:
        arguments.append(f"region={region}")
    for name, default in (("score", "logit"), ("reduction", "mean")):
        if target[name] != default:
            arguments.append(f"{name}={target[name]!r}")
    lines.append(f"target = sx.Target({', '.join(arguments)})")
    defaults = {p.name: p.default for p in find_method(record["method"]).parameters}
    changed = {k: v for k, v in record["parameters"].items() if v != defaults.get(k)}
    call = ["model", "image", "target", f"method={record['method']!r}", f"seed={record['seed']}"]
    call.append(f"device={record['device']!r}")
    if record["slice"] is not None:
        call.append(f"slice={record['slice']}")
    call += [f"{name}={value!r}" for name, value in changed.items()]
    lines += [f"explanation = sx.explain({', '.join(call)})", 'explanation.save("explanation")', ""]
    return "\n".join(lines)

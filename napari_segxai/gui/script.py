"""A result as a Python script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_segxai.explainers.registry import find_method
from napari_segxai.gui.shown import code_of, frame_in_file
from napari_segxai.model.placement import plane_of

if TYPE_CHECKING:
    from napari_segxai.comparing import Plan
    from napari_segxai.flow import Flow
    from napari_segxai.image import Image
    from napari_segxai.sweeping import SweepPlan
    from napari_segxai.targets import Target


def python_of(record: Mapping[str, Any], *, layer: str, image: Image, region: str | None = None) -> str:
    """Return Python code that makes an explanation again.

    Parameters
    ----------
    record
        The record of the explanation, as a dict.
    layer
        Name of the layer that was explained.
    region
        Python code for the region in the axes of that layer; None for the predicted pixels.
    image
        The image that was explained, at its frame.
    """
    target, path = record["target"], record["image"]["path"]
    from_file = path is not None and region in (None, repr("image"))
    known = record["model"].get("path") or record["model"]["name"]
    lines = _opening(path if from_file else None, layer, image, record["model"]["source"], known)
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
    if record.get("axis"):
        call.append(f"axis={record['axis']}")
    call += [f"{name}={value!r}" for name, value in changed.items()]
    lines += [f"explanation = sx.explain({', '.join(call)})", 'explanation.save("explanation")', ""]
    return "\n".join(lines)


def python_of_flow(
    flow: Flow,
    *,
    layer: str,
    layers: Sequence[str] | str | None = None,
    region: str | None = None,
    truth: str | None = None,
) -> str:
    """Return Python code that makes an information flow again.

    Parameters
    ----------
    layer
        Name of the napari layer that was looked at.
    layers
        The network layers that were asked for, as `information_flow` takes them.
    region
        Python code for the region in the axes of that layer; None for the predicted pixels.
    truth
        Python code for the truth, or None.
    """
    job = next(iter(flow.jobs.values()))
    from_file = flow.image.path is not None and region in (None, repr("image")) and truth is None
    path = flow.image.path if from_file else None
    lines = _opening(path, layer, flow.image, flow.model.source, flow.model.name)
    call = ["model", "image", repr(list(flow.labels)), f"method={flow.method!r}"]
    if layers is not None:
        call.append(f"layers={layers!r}")
    if region is not None:
        call.append(f"region={region}")
    if truth is not None:
        call.append(f"truth={truth}")
    for name, default in (("score", "logit"), ("reduction", "mean")):
        if (value := getattr(job.target, name)) != default:
            call.append(f"{name}={value!r}")
    if job.slice is not None:
        call.append(f"slice={job.slice}")
    if plane_of(job.model.card, job.image):
        call.append(f"axis={plane_of(job.model.card, job.image)}")
    call += [f"seed={job.seed}", f"device={str(job.device)!r}"]
    if any(tile.lost is not None for tile in flow.tiles.values()):
        call.append("causal=True")
    defaults = {p.name: p.default for p in job.method.parameters}
    own = {name: value for name, value in vars(job.options).items() if name != "layer"}
    call += [f"{name}={value!r}" for name, value in own.items() if value != defaults.get(name)]
    lines += [f"flow = sx.information_flow({', '.join(call)})", 'flow.save("flow")', ""]
    return "\n".join(lines)


def python_of_comparison(
    plan: Plan,
    *,
    layer: str,
    methods: Sequence[tuple[str, Mapping[str, Any]]],
    maps: Mapping[str, str],
    region: str | None = None,
    truth: str | None = None,
    noise_model: str | None = None,
) -> str:
    """Return Python code that makes a comparison again.

    Parameters
    ----------
    layer
        Name of the napari layer that was looked at.
    methods
        Names, and parameters that are not the default.
    maps
        Names of the layers whose maps were measured, by name in the comparison.
    region
        Python code for the region in the axes of that layer; None for the predicted pixels.
    truth
        Python code for the truth, or None.
    noise_model
        The file of the noise model, or None.
    """
    job = plan.job
    from_file = job.image.path is not None and region in (None, repr("image")) and truth is None and not maps
    path = job.image.path if from_file else None
    lines = _opening(path, layer, job.image, job.model.source, job.model.name)
    lines.append(_target(job.target, region))
    specs = [(name, dict(values)) if values else name for name, values in methods]
    call = ["model", "image", "target", repr(specs)]
    if maps:
        given = ", ".join(f"{name!r}: viewer.layers[{own!r}].data" for name, own in maps.items())
        call.append(f"maps={{{given}}}")
    if truth is not None:
        call.append(f"truth={truth}")
    if noise_model is not None:
        call.append(f"noise_model={noise_model!r}")
    call += [f"metrics={[metric.name for metric in plan.metrics]!r}", f"controls={plan.controls}"]
    if job.slice is not None:
        call.append(f"slice={job.slice}")
    if plane_of(job.model.card, job.image):
        call.append(f"axis={plane_of(job.model.card, job.image)}")
    call += [f"seed={job.seed}", f"device={str(job.device)!r}"]
    call += [f"{name}={value!r}" for name, value in plan.options.items()]
    lines += [f"comparison = sx.compare({', '.join(call)})", 'comparison.save("comparison")', ""]
    return "\n".join(lines)


def python_of_sweep(
    plan: SweepPlan,
    *,
    layer: str,
    region: str | None = None,
    noise_model: str | None = None,
) -> str:
    """Return Python code that makes a sweep again; see `python_of_comparison`."""
    comparing, job = plan.comparing, plan.comparing.job
    path = job.image.path if region in (None, repr("image")) else None
    lines = _opening(path, layer, job.image, job.model.source, job.model.name)
    lines.append(_target(job.target, region))
    method = (plan.method, dict(plan.fixed)) if plan.fixed else plan.method
    call = ["model", "image", "target", repr(method), repr(dict(plan.grid))]
    if noise_model is not None:
        call.append(f"noise_model={noise_model!r}")
    call.append(f"metrics={[metric.name for metric in comparing.metrics]!r}")
    if job.slice is not None:
        call.append(f"slice={job.slice}")
    if plane_of(job.model.card, job.image):
        call.append(f"axis={plane_of(job.model.card, job.image)}")
    call += [f"seed={job.seed}", f"device={str(job.device)!r}"]
    call += [f"{name}={value!r}" for name, value in comparing.options.items()]
    lines += [f"sweep = sx.sweep({', '.join(call)})", 'sweep.save("sweep")', ""]
    return "\n".join(lines)


def _target(target: Target, region: str | None) -> str:
    """Return the line that makes a target."""
    arguments = [repr(target.label)]
    if region is not None:
        arguments.append(f"region={region}")
    for name, default in (("score", "logit"), ("reduction", "mean")):
        if (value := getattr(target, name)) != default:
            arguments.append(f"{name}={value!r}")
    return f"target = sx.Target({', '.join(arguments)})"


def _opening(path: str | None, layer: str, image: Image, source: str, known: str) -> list[str]:
    """Return the lines that get the image, from its file or from a layer of the viewer, and the model."""
    lines = ["import napari_segxai as sx", ""]
    if path is not None and frame_in_file(image) is not None:
        lines.append(f"image = sx.read_image({path!r}){frame_in_file(image)}")
    else:
        lines += [
            "import napari",
            "viewer = napari.current_viewer()",
            f"image = {code_of(layer, image)}",
        ]
    name = source.removeprefix("built-in ") if source.startswith("built-in ") else known
    lines.append(f"model = sx.load_model({name!r})")
    return lines

"""What the commands share: kinds of arguments, and reading them."""

from __future__ import annotations

import itertools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from napari_segxai.core.errors import UserError
from napari_segxai.core.registry import PluginWarning

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.segmentation import SegmentationModel

Result = TypeVar("Result")


def folder_of(text: str | Path) -> Path:
    """Read the name of a folder of results; "" is none, though a path of it would be the folder one is in."""
    if not os.fspath(text):
        raise typer.BadParameter("it is empty; name a folder for the results.")
    return Path(text)


# Options that several commands have, each with its words once. Defaults stand in the commands.

Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...",
        help="NIfTI, MGZ, PNG, JPEG, TIFF or Zarr. Several files, one after the other or with commas between, hold a "
        "channel each, in the order of the model's channels.",
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(
        "--axes",
        help="What the axes of the array in the file are, where it does not say so: T time, C channels, Z Y X space, such "
        "as TCYX of a TIFF or XYZC of a volume.",
    ),
]
Frame = Annotated[
    int | None,
    typer.Option("--frame", help="Time point of an image with a time axis; the first by default."),
]
Level = Annotated[
    int | None,
    typer.Option("--level", help="Level of a pyramid (OME-Zarr, OME-TIFF); 0, the finest, by default."),
]
Slice = Annotated[int | None, typer.Option("--slice", help="2D model on a volume: this slice only.")]
Axis = Annotated[
    int | None,
    typer.Option(
        "--axis",
        help="2D model on a volume: the axis across which slices lie, as napari shows it (0 axial, 1 coronal, 2 sagittal "
        "where the file knows its orientation).",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="Built-in name, model folder, folder of nnU-Net's results, file of weights (with --architecture) or TorchScript file.",
    ),
]
Card = Annotated[
    Path | None,
    typer.Option(
        "--card",
        help="Model card (YAML, a file or in braces): what the model's own files do not say, or should not.",
    ),
]
Architecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        metavar="MODULE:CLASS",
        help="Of a file of weights: the class of the network, such as monai.networks.nets:UNet, or my_net.py:Net in a file of "
        "yours (with --trust).",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arguments",
        metavar="NAME=VALUE",
        help="Argument of that class, such as channels=[16,32,64]; repeatable. What the weights tell may be left out.",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Allow a model to run a module that is not known to hold networks.")
]
Label = Annotated[str, typer.Option("--label", help="Which label to explain, by name.")]
Region = Annotated[
    str | None, typer.Option("--region", help="Mask file, 'image', or a pixel such as 12,40,33.")
]
Score = Annotated[str, typer.Option("--score", help="logit, probability or log_probability.")]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="LABEL",
        help="Why this label rather than another: the score is the difference of both.",
    ),
]
Boundary = Annotated[
    str | None,
    typer.Option(
        "--boundary",
        metavar="LOW,HIGH",
        help="A band along the border instead of the region, in mm, negative inside, such as -2,2.",
    ),
]
Error = Annotated[
    str | None,
    typer.Option(
        "--error",
        metavar="KIND[:N]",
        help="false-positive or false-negative, and which component, from 1, the largest first; needs --truth.",
    ),
]
Reduction = Annotated[str, typer.Option("--reduction", help="mean or sum over the region.")]
Truth = Annotated[
    list[str] | None,
    typer.Option(
        "--truth",
        metavar="FILE or LABEL=FILE",
        help="True label values; for labels that may overlap, a mask for each, as channels or as LABEL=FILE several times.",
    ),
]
Metrics = Annotated[
    str | None, typer.Option("--metrics", help="Names with commas, or all; a handful by default.")
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--option", metavar="NAME=VALUE", help="Parameter of the metrics, such as binarize=0.2."
    ),
]
Noise = Annotated[
    Path | None,
    typer.Option("--noise-model", help="For ANA and SRM: the file that u-noise saved as weights."),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results in the folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_frame(
    images: Sequence[str],
    frame: int | None,
    axis: int | None = None,
    channels: int | None = None,
    *,
    axes: str | None = None,
    level: int | None = None,
) -> Any:
    """Read an image, of a 4D one the time point, unless the model has as many channels; slices lie across `axis`.

    Several files are joined as channels.
    """
    from napari_segxai import join_channels, read_image

    paths = _paths(images)
    found = [read_image(path, axes=axes, level=level) for path in paths]
    if len(found) == 1 and frame is None and axes is None and channels is not None:
        found = [found[0].with_channels(channels)]
    for path, image in zip(paths, found, strict=True):
        if frame is not None and image.time_axis is None:
            raise UserError(f"--frame is for images with a time axis; {path} has none, leave it out.")
    for path, image in zip(paths, found, strict=True):
        if frame is None and image.frames > 1:
            typer.echo(
                f"{path}: time point 0 is taken, of 0 to {image.frames - 1}; choose another with --frame.",
                err=True,
            )
    frames = [image.frame(frame or 0) for image in found]
    return (frames[0] if len(frames) == 1 else join_channels(frames)).across(axis)


def _paths(images: Sequence[str]) -> list[str]:
    """Return the files that are named one after the other, or with commas between where no file has the whole name."""
    out: list[str] = []
    for text in images:
        parts = [part.strip() for part in text.split(",")]
        out += (
            [text] if len(parts) == 1 or os.path.exists(text) else [part for part in parts if part] or [text]
        )
    return out


def load(
    model: str,
    card: Path | None,
    trust: bool,
    architecture: str | None = None,
    arguments: Sequence[str] | None = None,
) -> SegmentationModel:
    """Load a model."""
    from napari_segxai.models.registry import load_model

    values = None if arguments is None else read_values(arguments, "--arguments")
    return load_model(model, card=card, architecture=architecture, arguments=values, trust=trust)


def read_values(texts: Sequence[str], flag: str) -> dict[str, Any]:
    """Read NAME=VALUE pairs, each value as YAML: a number, a word, a list in brackets."""
    from napari_segxai.models.loading.yaml_file import read_value

    for text in texts:
        if several := re.search(r",\s*(\w+=[^,]*)", re.sub(r"\[.*?\]|\{.*?\}", "", text)):
            raise UserError(
                f"{flag} {text!r} holds several; write {flag} before each of them, such as {flag} {several[1]}."
            )
    return {name: read_value(text, f"{flag} {name}") for name, text in read_parameters(texts, flag).items()}


def read_parameters(
    texts: Sequence[str] | None, flag: str = "-p", *, of: Sequence[Callable[..., Any]] = ()
) -> dict[str, Any]:
    """Read NAME=VALUE pairs.

    Parameters
    ----------
    of
        The functions that get them: what these take by themselves is not a parameter.
    """
    pairs = [text.partition("=") for text in texts or ()]
    for text, (name, equals, _) in zip(texts or (), pairs, strict=True):
        if not equals or not name.strip():
            raise UserError(f"{flag} {text!r} is not a NAME=VALUE pair; write for example {flag} masks=500.")
    names = [name.strip() for name, _, _ in pairs]
    each_once(names, flag)
    own = {p.name for each in of for p in signature(each).parameters.values() if p.kind != p.VAR_KEYWORD}
    for name in names:
        if name in own:
            raise UserError(
                f"{flag} {name}=...: {name} is not a parameter; what is asked has options of its own, see --help."
            )
    return dict(zip(names, (value.strip() for _, _, value in pairs), strict=True))


def each_once(names: Sequence[str], flag: str) -> None:
    """Refuse a name that is given twice: two results would want one place."""
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"{flag} {twice[0]!r} is given twice; once is enough.")


def save(result: Any, out: Path, *, overwrite: bool, **more: Any) -> list[Path]:
    """Save a result; where that is refused after the work, it is saved beside `out`, and said: nothing is lost."""
    try:
        return result.save(out, overwrite=overwrite, **more)
    except UserError as error:
        beside = free_folder(out)
        try:
            written = result.save(beside, **more)
        except UserError:
            raise error from None
        print(f"note: {error} The results are in {beside}.", file=sys.stderr)
        return written


def as_far_as_it_came(
    run: Callable[[], Result], is_there: Callable[[Result], Any] = bool
) -> tuple[Result, bool]:
    """Run what makes a result; on Ctrl-C return what there is of its result, and True.

    Parameters
    ----------
    is_there
        Tells whether a result that was stopped holds anything.

    Raises
    ------
    Interrupted
        On Ctrl-C, if there is nothing yet.
    """
    from napari_segxai import Interrupted

    try:
        return run(), False
    except Interrupted as stop:
        if stop.partial is None or not is_there(stop.partial):
            raise
        return stop.partial, True


def end_as_stopped(stopped: bool, what_there_is: str = "what was written is partial") -> None:
    """End with the status of a program that was stopped by Ctrl-C, if it was."""
    if stopped:
        print(f"note: stopped before the end; {what_there_is}.", file=sys.stderr)
        raise typer.Exit(130)


def free_folder(folder: Path) -> Path:
    """Return a name beside a folder that is not taken."""
    folder = folder.absolute()
    names = (folder.with_name(f"{folder.name}-{k}") for k in itertools.count(2))
    return next(path for path in names if not os.path.lexists(path))


def parameter_line(parameter: dict[str, Any]) -> str:
    """Return a line about a parameter, as a listing describes it."""
    choices = " | ".join(map(str, parameter["choices"])) or parameter["type"]
    default = "auto" if parameter["default"] is None else parameter["default"]
    extra = "".join(f", {fact}" for fact in (parameter["unit"], parameter["bounds"]) if fact)
    return f"      {parameter['name']}={default}  [{choices}{extra}]  {parameter['help']}"


def read_region_option(text: str | None, image: Any) -> Any:
    """Read a region: a word, a pixel or a mask file."""
    if text is None or text == "image":
        return text
    parts = text.split(",")
    if len(parts) > 1 and all(re.fullmatch(r"\s*-?[0-9]{1,9}\s*", part) for part in parts):
        from napari_segxai import Point

        return Point(tuple(int(part) for part in parts))
    from napari_segxai.io.regions import read_region

    return read_region(text, image)


def read_band(text: str | None) -> tuple[float, ...] | None:
    """Return the distances of --boundary; None for the whole region.

    Raises
    ------
    UserError
        If they are no numbers.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--boundary is two distances with a comma, such as -2,2, not {text!r}.") from None


def read_target(
    label: str,
    image: Any,
    *,
    region: str | None = None,
    truth: Any = None,
    against: str | None = None,
    boundary: str | None = None,
    error: str | None = None,
    **more: Any,
) -> Any:
    """Make a target of a command's options; `truth` counts for an error alone."""
    from napari_segxai import Target

    kind, _, number = (error or "").partition(":")
    if number and not re.fullmatch(r"[0-9]{1,6}", number):
        raise UserError(
            f"--error is a kind, or a kind and the number of a component, such as false-positive:3, not {error!r}."
        )
    asked = {} if error is None else {"error": kind, "component": int(number or 1), "truth": truth}
    chosen = read_region_option(region, image)
    return Target(label, region=chosen, against=against, boundary=read_band(boundary), **asked, **more)


def read_truth_option(texts: list[str] | None) -> Image | dict[str, Image] | None:
    """Read a file of true labels, which knows where it lies, or a mask for every LABEL=FILE."""
    from napari_segxai import read_image

    if not texts:
        return None
    if len(texts) == 1 and ("=" not in texts[0] or Path(texts[0]).exists()):
        return read_image(texts[0])
    pairs = [text.partition("=") for text in texts]
    names = [name.strip() for name, _, _ in pairs]
    if any(not equals or not name for name, equals, _ in pairs) or len(set(names)) < len(names):
        raise UserError("--truth is one file of label values, or LABEL=FILE once for every label.")
    return {name: read_image(path.strip()) for name, (_, _, path) in zip(names, pairs, strict=True)}


@contextmanager
def plugin_notes() -> Iterator[None]:
    """While open, what is said of another package's plug-in is a line like any other note."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, PluginWarning):
                print(f"note: {message}", file=sys.stderr)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = show_note
        yield

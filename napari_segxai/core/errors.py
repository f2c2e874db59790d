"""The one error that a user can cause; and errors of other libraries in one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from importlib.metadata import version


class UserError(ValueError):
    """A mistake in what was asked for, told in one sentence that also says what would be right.

    The command line prints it and exits with status 2; the widgets show it; scripts can catch it as
    a `ValueError`. What it quotes may come from a stranger: control characters are left out, and what is very long
    is cut.
    """

    def __init__(self, sentence: str):
        super().__init__(plain(sentence))


LONGEST = 2000
"""Characters of a sentence."""

_TERMINAL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?)")


def plain(text: str) -> str:
    """Return a text in one line, without what a terminal would obey."""
    text = " ".join(_TERMINAL.sub("", str(text)).split())
    text = "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


FRAMES = " \t" + "".join(map(chr, range(0x2500, 0x2580)))
"""What libraries draw around the words of an error."""

SENTENCE = re.compile(r"(?<=[a-z)\]'\"`]{2})\.\s+(?=[A-Z])")
"""Where a sentence ends; what follows in errors of torch is advice to programmers."""


LONGEST_REASON = 300
"""Characters of what an error of another library says: some list all that there is."""


def reason_of(error: BaseException) -> str:
    """Return what an error of another library says, in one sentence without line breaks, frames and colours."""
    if (misfit := torchvision_misfit(error)) is not None:
        return misfit
    lines = [plain(line).strip(FRAMES) for line in str(error).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return type(error).__name__
    # TorchScript puts its own traceback before the reason.
    if "TorchScript interpreter" in lines[0]:
        return lines[-1].rstrip(".")
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    said = SENTENCE.split(said, maxsplit=1)[0].rstrip(".:")
    said = said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON].rstrip(' ,')} ..."
    known = isinstance(error, RuntimeError | TypeError | ValueError | ImportError)
    return said if known else f"{type(error).__name__}: {said}"


def torchvision_misfit(error: BaseException) -> str | None:
    """Return what is wrong with torchvision, where that is why a package could not be imported; None else.

    Packages that import it, such as segmentation-models-pytorch and transformers, fail with whatever they make of it.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # an error that is raised again can stand among its own causes
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if "operator torchvision::" in str(cause):
            found = [f"{name} {version(name)}" for name in ("torchvision", "torch")]
            return (
                f"{found[0]} was built for another torch than {found[1]}, which is installed, so that nothing that needs it can be "
                "imported; install both together from one place (pytorch.org names it for CPU and for each CUDA), or remove torchvision"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def ended(said: str) -> str:
    """Return what ends a sentence with the mark at its end: a full stop, unless it asks something."""
    said = said.rstrip(".")
    return said if said.endswith(("?", "!")) else f"{said}."


def size(count: int) -> str:
    """Return a number of bytes as sentences say it."""
    if count < 2**19:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def number(value: float) -> str:
    """Return a number as it is written in a sentence, however large it is."""
    try:
        return f"{value:g}"
    except (OverflowError, ValueError):  # a whole number beyond what a float holds
        return "a number of more than 300 digits"


def known_name(name: str, known: Iterable[str], what: str) -> str:
    """Return a name that is among the known ones.

    Parameters
    ----------
    what
        What has them, and what they are, as the beginning of a sentence, e.g. "this comparison has no map".

    Raises
    ------
    UserError
        If it is not, with the nearest names.
    """
    known = list(known)
    if name not in known:
        raise UserError(f"{what} {name!r}; {nearest(name, known)}")
    return name


NEAR = 0.65
"""Likeness of two names from which one may be meant by the other: that of "lambda" to "lam"."""


def nearest(name: str, known: Iterable[str], few: int = 12) -> str:
    """Return "did you mean ...?" text: the known names near to `name`, or else all of them when they are `few`."""
    known = [str(k) for k in known]
    given = str(name).lower()
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=NEAR)
    if len(given) >= 3:  # what is cut short is meant, however long the whole name is
        cut = [
            k for k in known if k.lower().startswith(given) or (len(k) >= 3 and given.startswith(k.lower()))
        ]
        close = [*close, *(k for k in cut if k not in close)][:3]
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not known:
        return "there is none."
    if len(known) <= few:
        return "known are " + ", ".join(repr(k) for k in known) + "."
    return f"there are {len(known)} to choose from, such as {known[0]!r}."

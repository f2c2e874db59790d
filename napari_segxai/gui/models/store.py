"""The one list of models that all docks offer: built-in ones, those of the console, those opened from files."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui import worker
from napari_segxai.gui.models import recent
from napari_segxai.gui.viewer import layers
from napari_segxai.gui.viewer.lifetime import when_gone
from napari_segxai.models import registry as model_room
from napari_segxai.models.card import ModelCard, read_card
from napari_segxai.models.formats import builtin, folder
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.partial_card import CardIncomplete, PartialCard
from napari_segxai.models.registry import load_model, stored_card

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(eq=False)
class Entry:
    """A model in the list; `model` is None until it has been loaded.

    Attributes
    ----------
    source
        What `load_model` takes: the name of a built-in model, a path, or the registered model itself.
    registered
        The name under which a console registered it; "" for the others.
    trust
        Whether the user has allowed, in this session, the code that comes with it.
    problem
        Why it could not be loaded, in a sentence; "" if no reason is known.
    failed
        The stamp of its files when it could not be loaded: it is not tried again until they change.
    untrusted, incomplete
        The code for which a yes has to be asked, or what has to be told of the card, where it could not be loaded without; until somebody
        is asked.
    """

    source: Any
    card: ModelCard
    model: SegmentationModel | None = None
    registered: str = ""
    trust: bool = False
    problem: str = ""
    failed: Stamp = field(default=(), repr=False)
    untrusted: UntrustedCode | None = field(default=None, repr=False)
    incomplete: PartialCard | None = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """The folder or file it was opened from, if any."""
        return self.source if isinstance(self.source, Path) else None

    def stamp(self) -> Stamp:
        """Return name, time and size of the files that the model is made of."""
        if self.path is None:
            return ()
        if self.path.is_dir():
            beside = [self.path / folder.CARD, self.path / self.card.weights]
            for pattern in ("*.py", "*.json", "*.pth", "fold_*/*.pth"):  # those of nnU-Net's results, too
                beside += sorted(self.path.glob(pattern))
        else:
            beside = [self.path, self.path.with_suffix(".yaml")]
        found = []
        for file in beside:
            try:
                stat = os.stat(file)
                found.append((file.name, stat.st_mtime_ns, stat.st_size))
            except OSError:
                found.append((file.name, 0, -1))
        return tuple(found)


_shared: ModelStore | None = None
"""The list of this application; of another one before it, which is told nothing any more, where it has no parent."""


@model_room.when_registered
def _tell() -> None:
    """Tell the GUI thread, from any thread, that models were registered."""
    with suppress(RuntimeError):  # it is just being deleted
        if _shared is not None and _shared.parent() is not None:
            _shared._news.emit()


class ModelStore(QObject):
    """The models, in the order in which they are offered.

    Attributes
    ----------
    listed
        Emitted when a model came, went or was replaced.
    changed
        Emitted with an entry that has been loaded, or could not be.
    chosen
        What a user chose last, in any dock: with it the next dock begins.
    """

    listed = Signal()
    changed = Signal(object)
    _news = Signal()

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        self.entries = [Entry(name, read_card(path / folder.CARD)) for name, path in builtin.names().items()]
        self.chosen: Entry | None = None
        self._loading: dict[Entry, worker.WorkerTask] = {}
        self._news.connect(self.refresh_registered)
        self.refresh_registered()

    @staticmethod
    def shared() -> ModelStore:
        """Return the list of this application, which is made when it is first asked for."""
        global _shared
        app = QApplication.instance()
        with suppress(RuntimeError):  # the list belonged to an application that is gone
            if _shared is not None and _shared.parent() is app:
                return _shared
        _shared = ModelStore(app)
        return _shared

    def refresh_registered(self) -> None:
        """Follow what the console has registered; a name that was registered again has the new model."""
        known = model_room.registered()
        before = list(self.entries)
        ours = {entry.registered: k for k, entry in enumerate(self.entries) if entry.registered}
        for name, model in known.items():
            if name not in ours:
                self.entries.append(Entry(model, model.card, model, registered=name))
            elif self.entries[ours[name]].model is not model:
                self.entries[ours[name]] = Entry(model, model.card, model, registered=name)
        self.entries = [entry for entry in self.entries if not entry.registered or entry.registered in known]
        if self.entries != before:
            self.listed.emit()

    def read(self, path: str | Path) -> Entry:
        """Return the entry of a model folder, of nnU-Net's results or of a TorchScript file, which is not in the list yet unless it was before.

        Raises
        ------
        UserError
            If it is not a model, or its card cannot be read.
        """
        path = Path(os.path.abspath(user_path(path)))
        if path.name == folder.CARD and path.is_file():
            path = path.parent
        card = stored_card(path)
        known = next((entry for entry in self.entries if entry.path == path), None)
        if known is not None and known.card == card:
            return known
        return Entry(path, card)

    def add(self, entry: Entry) -> None:
        """Offer an entry, in the place of what was opened from the same path before."""
        if entry in self.entries:
            return
        same = [k for k, other in enumerate(self.entries) if other.path and other.path == entry.path]
        if same:
            self.entries[same[0]] = entry
        else:
            self.entries.append(entry)
        self.listed.emit()

    def load(self, entry: Entry) -> None:
        """Load a model in the background, unless it is loaded, being loaded, or known not to load."""
        if entry.model is not None or entry in self._loading:
            return
        stamp = entry.stamp()
        if entry.problem and stamp == entry.failed:
            return
        entry.problem = ""

        def make() -> Steps[SegmentationModel]:
            yield Step(0, 1, "loading the model")
            layers.warm_up()
            model = load_model(entry.source, trust=entry.trust)
            if model.has_layers:
                _ = model.outline  # lists the network layers, for which the network runs once
            return model

        def done(outcome: worker.Outcome) -> None:
            del self._loading[entry]
            if outcome.error is not None:
                error = outcome.error
                known = isinstance(error, UserError)
                entry.problem = str(error) if known else f"{entry.card.name} cannot be loaded: {error!r}."
                entry.failed = stamp
                entry.untrusted = error if isinstance(error, UntrustedCode) else None
                entry.incomplete = error.partial if isinstance(error, CardIncomplete) else None
            elif outcome.result is not None:
                entry.model, entry.card = outcome.result, outcome.result.card
                if entry.path is not None:
                    recent.remember(entry.path, entry.card.name)
            self.changed.emit(entry)

        task = self._loading[entry] = worker.WorkerTask(make, lambda _: None, done)
        when_gone(self, task.abandon)
        worker.start(task)

    def title(self, entry: Entry) -> str:
        """Return the title of an entry: the name on its card, with its folder if another entry has that name."""
        name = entry.card.name
        if sum(other.card.name == name for other in self.entries) < 2:
            return name
        where = entry.source if isinstance(entry.source, str | Path) else entry.card.architecture or "unsaved"
        return f"{name} ({entry.registered or Path(str(where)).name})"

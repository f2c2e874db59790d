"""A model card that a model's own files tell in part: what they say, and what only the user can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.core.paths import user_path
from napari_segxai.models.card import ModelCard, make_card
from napari_segxai.models.loading.yaml_file import read_mapping, read_value
from napari_segxai.models.torchvision_weights import card_of_weights, is_weights


@dataclass(frozen=True)
class PartialCard:
    """What the files of a model say of its card, and what they do not.

    Attributes
    ----------
    where
        The file or folder, for messages.
    known
        Keys of a card with their values, as the files say them.
    asked
        Keys that a card of this model needs and that the files do not say, each with what is to be told, as the object of a
        sentence: ``{"labels": "the names of its 4 outputs, in their order"}``.
    suggested
        Likely values of keys that are asked. A form shows them; nothing else uses them.
    """

    where: str
    known: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    suggested: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, card: ModelCard, where: str) -> PartialCard:
        """Return what a whole card says."""
        return cls(where, card.model_dump(exclude_unset=True))

    def completed(self, given: Mapping[str, Any] | None = None) -> ModelCard:
        """Return the card: what the files say, with the keys that are given in place of theirs or beside them.

        Of `windows` single settings can be given; the others stay as the files say.

        Raises
        ------
        CardIncomplete
            If keys are still asked.
        UserError
            If a key is unknown, or its value is not valid.
        """
        given = dict(given or {})
        known, own = self.known.get("windows"), given.get("windows")
        if isinstance(known, Mapping) and isinstance(own, Mapping):
            given["windows"] = {**known, **own}
        fields = {**self.known, **given}
        missing = {key: what for key, what in self.asked.items() if key not in fields}
        if missing:
            raise CardIncomplete(self, missing)
        return make_card(fields, self.where)


class CardIncomplete(UserError):
    """A model's files do not say all that a card needs.

    Attributes
    ----------
    partial
        What they say.
    missing
        The keys that are still asked, with what is to be told.
    """

    def __init__(self, partial: PartialCard, missing: Mapping[str, str]):
        self.partial, self.missing = partial, dict(missing)
        asked = "; ".join(f"{key}: {what}" for key, what in missing.items())
        form = ", ".join(f"{key!r}: ..." for key in missing if key != "architecture")
        given = f"(card={{{form}}}, or --card with a YAML file of these keys)" if form else ""
        super().__init__(
            f"{partial.where}: its files do not say all about the model; give {f'a card {given} with ' if form else ''}{asked}."
        )


def given_card(card: object) -> ModelCard | dict[str, Any]:
    """Return a whole `ModelCard` as it is, and the keys of a mapping, of a YAML file or of torchvision's weights, which need not be all.

    Text in braces is a mapping itself, as YAML: ``"{ignored_values: [255]}"``.

    Raises
    ------
    UserError
        If it is none of these, or the file cannot be read.
    """
    if isinstance(card, ModelCard):
        return card
    if isinstance(card, Mapping):
        return dict(card)
    if is_weights(card):
        return card_of_weights(card)
    if isinstance(card, str | Path) and str(card).lstrip().startswith("{"):
        found = read_value(str(card), "card")
        if not isinstance(found, dict):
            raise UserError(f"card: {str(card)!r:.80} is no mapping of keys to values.")
        return found
    if isinstance(card, str | Path):
        return read_mapping(user_path(card), "model card")
    raise UserError(f"a card is a mapping, a YAML file or a ModelCard, not a {type(card).__name__}.")

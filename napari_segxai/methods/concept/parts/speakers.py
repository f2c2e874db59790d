"""A sender that says a sentence of symbols about features, and a receiver that draws a mask from it (the game of emergent-language)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN, COMPONENTS = 64, 32
"""Width of both; principal components of the features that the sender sees."""

WARM, COLD = 1.0, 0.5
"""Temperature of the Gumbel softmax at the start and at the end."""


class Speakers(nn.Module):
    """Sender and receiver.

    Parameters
    ----------
    features
        Numbers that the sender sees.
    symbols, length
        Of the language: how many symbols there are, and how many make a sentence.
    cells
        Numbers that the receiver draws.
    """

    def __init__(self, features: int, symbols: int, length: int, cells: int):
        super().__init__()
        self.symbols, self.length = symbols, length
        self.begin = nn.Linear(features, HIDDEN)
        self.say, self.sender = nn.Linear(HIDDEN, symbols), nn.LSTMCell(symbols, HIDDEN)
        self.receiver = nn.LSTM(symbols, HIDDEN, batch_first=True)
        self.draw = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.paint = nn.Linear(HIDDEN, cells)

    def speak(self, features: Tensor, temperature: float | None = None) -> Tensor:
        """Return sentences, (n, length, symbols), each symbol one-hot.

        Parameters
        ----------
        features
            (n, features).
        temperature
            Symbols are drawn by chance, and pass a gradient on all the same (straight-through Gumbel softmax); None for the most likely ones.
        """
        state = torch.tanh(self.begin(features)), torch.zeros(len(features), HIDDEN)
        out = []
        for _ in range(self.length):
            scores = self.say(state[0])
            if temperature is None:
                said = F.one_hot(scores.argmax(1), self.symbols).float()
            else:
                said = F.gumbel_softmax(scores, temperature, hard=True)
            out.append(said)
            state = self.sender(said, state)
        return torch.stack(out, 1)

    def understand(self, sentences: Tensor) -> Tensor:
        """Return logits of masks, (n, cells)."""
        return self.paint(self.draw(self.receiver(sentences)[0][:, -1]))


def learning(
    features: Tensor, masks: Tensor, symbols: int, length: int, steps: int, rate: float
) -> tuple[Speakers, torch.optim.Optimizer]:
    """Return speakers that know nothing yet, and what teaches them."""
    game = Speakers(features.shape[1], symbols, length, masks.shape[1])
    share = masks.mean(0).clamp(0.01, 0.99)
    with torch.no_grad():
        # The mean mask, from which the sentence has to lead away
        game.paint.bias.copy_(torch.logit(share))
    return game, torch.optim.Adam(game.parameters(), lr=rate)


def teach(
    game: Speakers, optimizer: torch.optim.Optimizer, features: Tensor, masks: Tensor, progress: float
) -> None:
    """Take one step: cross entropy of the drawn masks, and their soft Dice.

    Parameters
    ----------
    masks
        (n, cells) in [0, 1].
    progress
        From 0 to 1: how far the temperature has come down.
    """
    drawn = game.understand(game.speak(features, WARM + (COLD - WARM) * progress))
    probability = torch.sigmoid(drawn)
    overlap = (2 * (probability * masks).sum(1) + 1) / (probability.sum(1) + masks.sum(1) + 1)
    loss = F.binary_cross_entropy_with_logits(drawn, masks) + (1 - overlap).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(game.parameters(), 1.0)
    optimizer.step()

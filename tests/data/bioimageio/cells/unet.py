import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels: int, outputs: int, features: int = 4):
        super().__init__()
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.deep = nn.Conv2d(features, 2 * features, 3, padding=1)
        self.last = nn.Conv2d(3 * features, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.first(x))
        deep = torch.relu(self.deep(nn.functional.max_pool2d(first, 4)))
        return self.last(torch.cat([first, nn.functional.interpolate(deep, scale_factor=4.0)], 1))

from torch import nn


def make_network(features):
    return nn.Sequential(nn.Conv3d(1, features, 3, padding=1), nn.ReLU(), nn.Conv3d(features, 1, 1))

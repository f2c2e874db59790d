"""The two networks of nnU-Net v2, a plain U-Net and one with a residual encoder, under the names that its weights have.

Written after their description in plans.json, so that a folder of nnU-Net's results opens without its packages. Every
parameter has the names, all of them, that dynamic_network_architectures gives it: a block keeps its layers by name and in a
sequence, and the decoder keeps its encoder. The plain one: Isensee et al., nnU-Net, Nature Methods 18 (2021). The residual one:
Isensee et al., nnU-Net Revisited, MICCAI 2024; its blocks are those of ResNet-D, He et al., CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Sizes = int | Sequence[int]
PerStage = int | Sequence[Any]

TRANSPOSED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: nn.ConvTranspose2d,
    nn.Conv3d: nn.ConvTranspose3d,
}
POOL: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: nn.AvgPool2d, nn.Conv3d: nn.AvgPool3d}
DIMS: dict[type[nn.Module], int] = {nn.Conv2d: 2, nn.Conv3d: 3}


class Kit:
    """The layers that all blocks of a network are made of.

    Parameters
    ----------
    conv_op, norm_op, dropout_op, nonlin
        Classes of torch.nn; None for none.
    conv_bias
        Whether convolutions have a bias.
    norm_op_kwargs, dropout_op_kwargs, nonlin_kwargs
        Arguments of these classes.
    nonlin_first
        Whether the nonlinearity comes before the normalisation.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        conv_bias: bool = False,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        nonlin_first: bool = False,
    ):
        if conv_op not in DIMS:
            raise ValueError("conv_op is Conv2d or Conv3d")
        self.conv_op, self.conv_bias, self.nonlin_first = conv_op, conv_bias, nonlin_first
        self._norm = norm_op, norm_op_kwargs or {}
        self._dropout = dropout_op, dropout_op_kwargs or {}
        self._nonlin = nonlin, nonlin_kwargs or {}

    def per_axis(self, size: Sizes) -> list[int]:
        """Return one size for every axis."""
        return [size] * DIMS[self.conv_op] if isinstance(size, int) else list(size)

    def norm(self, channels: int) -> nn.Module | None:
        """Return a normalisation."""
        kind, arguments = self._norm
        return None if kind is None else kind(channels, **arguments)

    def dropout(self) -> nn.Module | None:
        """Return dropout."""
        kind, arguments = self._dropout
        return None if kind is None else kind(**arguments)

    def nonlin(self) -> nn.Module | None:
        """Return a nonlinearity."""
        kind, arguments = self._nonlin
        return None if kind is None else kind(**arguments)


class ConvDropoutNormReLU(nn.Module):
    """A convolution with what follows it.

    Parameters
    ----------
    bare
        Without dropout and nonlinearity.
    """

    def __init__(
        self,
        kit: Kit,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes,
        *,
        bias: bool | None = None,
        dropout: bool = True,
        bare: bool = False,
    ):
        super().__init__()
        kernel, bias = kit.per_axis(kernel), kit.conv_bias if bias is None else bias
        padding = [(n - 1) // 2 for n in kernel]
        parts = {
            "conv": kit.conv_op(inputs, outputs, kernel, kit.per_axis(stride), padding=padding, bias=bias),
            "dropout": kit.dropout() if dropout and not bare else None,
            "norm": kit.norm(outputs),
            "nonlin": None if bare else kit.nonlin(),
        }
        parts = {name: part for name, part in parts.items() if part is not None}
        for name, part in parts.items():
            setattr(self, name, part)
        layers = list(parts.values())
        if kit.nonlin_first and {"norm", "nonlin"} <= parts.keys():
            layers[-1], layers[-2] = layers[-2], layers[-1]
        self.all_modules = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers one after the other."""
        return self.all_modules(x)


class StackedConvBlocks(nn.Module):
    """Several convolutions, of which the first has the stride."""

    def __init__(self, kit: Kit, count: int, inputs: int, outputs: int, kernel: Sizes, stride: Sizes):
        super().__init__()
        first = ConvDropoutNormReLU(kit, inputs, outputs, kernel, stride)
        others = (ConvDropoutNormReLU(kit, outputs, outputs, kernel, 1) for _ in range(count - 1))
        self.convs = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        """Run the convolutions one after the other."""
        return self.convs(x)


def _shortcut(kit: Kit, inputs: int, outputs: int, stride: Sizes) -> nn.Sequential | None:
    """Return what brings the input of a residual block to the shape of its output; None where it has it."""
    steps, layers = kit.per_axis(stride), []
    if any(step != 1 for step in steps):
        layers.append(POOL[kit.conv_op](steps, steps))
    if inputs != outputs:
        layers.append(ConvDropoutNormReLU(kit, inputs, outputs, 1, 1, bias=False, bare=True))
    return nn.Sequential(*layers) if layers else None


class BasicBlockD(nn.Module):
    """Two convolutions, to which the input is added."""

    def __init__(
        self, kit: Kit, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, width: int | None = None
    ):
        super().__init__()
        self.conv1 = ConvDropoutNormReLU(kit, inputs, outputs, kernel, stride)
        self.conv2 = ConvDropoutNormReLU(kit, outputs, outputs, kernel, 1, bare=True)
        self.nonlin2 = kit.nonlin() or nn.Identity()
        self.skip = _shortcut(kit, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        residual = x if self.skip is None else self.skip(x)
        return self.nonlin2(self.conv2(self.conv1(x)) + residual)


class BottleneckD(nn.Module):
    """Three convolutions, of which the middle one is narrower and has the kernel, to which the input is added."""

    def __init__(self, kit: Kit, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, width: int):
        super().__init__()
        self.conv1 = ConvDropoutNormReLU(kit, inputs, width, 1, 1, dropout=False)
        self.conv2 = ConvDropoutNormReLU(kit, width, width, kernel, stride)
        self.conv3 = ConvDropoutNormReLU(kit, width, outputs, 1, 1, bare=True)
        self.nonlin3 = kit.nonlin() or nn.Identity()
        self.skip = _shortcut(kit, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        residual = x if self.skip is None else self.skip(x)
        return self.nonlin3(self.conv3(self.conv2(self.conv1(x))) + residual)


class StackedResidualBlocks(nn.Module):
    """Several residual blocks, of which the first has the stride."""

    def __init__(
        self,
        kit: Kit,
        block: type[BasicBlockD] | type[BottleneckD],
        count: int,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes,
        width: Any,
    ):
        super().__init__()
        first = block(kit, inputs, outputs, kernel, stride, width)
        others = (block(kit, outputs, outputs, kernel, 1, width) for _ in range(count - 1))
        self.blocks = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks one after the other."""
        return self.blocks(x)


class Encoder(nn.Module):
    """Stages that halve the resolution; returns what each of them made.

    Attributes
    ----------
    stem
        What comes before the first stage, in the residual encoder.
    """

    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None = None):
        super().__init__()
        if stem is not None:
            self.stem = stem
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of all stages."""
        found = []
        x = self.stem(x) if hasattr(self, "stem") else x
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class UNetDecoder(nn.Module):
    """Goes back up from the lowest stage: a transposed convolution, the skip connection beside it, convolutions.

    Every stage has a layer of outputs, for training; the last one's are returned.

    Parameters
    ----------
    residual
        Whether it has residual blocks in place of convolutions.
    """

    def __init__(
        self,
        encoder: Encoder,
        kit: Kit,
        features: Sequence[int],
        kernels: Sequence[Sizes],
        strides: Sequence[Sizes],
        counts: Sequence[int],
        classes: int,
        *,
        residual: bool = False,
    ):
        super().__init__()
        self.encoder = encoder
        up, stages, heads = [], [], []
        for k, count in zip(range(len(features) - 1, 0, -1), counts, strict=True):
            below, own, stride = features[k], features[k - 1], kit.per_axis(strides[k])
            up.append(TRANSPOSED[kit.conv_op](below, own, stride, stride, bias=kit.conv_bias))
            shape = count, 2 * own, own, kernels[k - 1], 1
            stages.append(
                StackedResidualBlocks(kit, BasicBlockD, *shape, None)
                if residual
                else StackedConvBlocks(kit, *shape)
            )
            heads.append(kit.conv_op(own, classes, 1, 1, 0, bias=True))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(up)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: Sequence[Tensor]) -> Tensor:
        """Return the logits from the outputs of the encoder's stages."""
        x = skips[-1]
        for stage, up, skip in zip(self.stages, self.transpconvs, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat((up(x), skip), 1))
        return self.seg_layers[-1](x)


def _stages(
    count: int, features: PerStage, kernels: PerStage, strides: PerStage, decoder: PerStage
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Return features, kernels and strides of every stage, and how many convolutions those of the decoder have."""
    named = (("features_per_stage", features), ("kernel_sizes", kernels), ("strides", strides))
    own = [_each(value, count, name) for name, value in named]
    return own[0], own[1], own[2], _each(decoder, count - 1, "n_conv_per_stage_decoder")


def _each(value: PerStage, count: int, name: str) -> list[Any]:
    """Return one value for every stage."""
    values = [value] * count if isinstance(value, int) or value is None else list(value)
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} entries for {count} stages")
    return values


class PlainConvUNet(nn.Module):
    """The U-Net of nnU-Net: stages of convolutions down and up again.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and outputs.
    n_stages
        Resolutions, the image's own included.
    features_per_stage, kernel_sizes, strides, n_conv_per_stage, n_conv_per_stage_decoder
        One for all, or one per stage from the first on; sizes one for all axes, or one per axis. The decoder has one stage
        less, and begins with the lowest.
    conv_op, conv_bias, norm_op, norm_op_kwargs, dropout_op, dropout_op_kwargs, nonlin, nonlin_kwargs, nonlin_first
        As `Kit` takes them.
    deep_supervision
        Taken for the sake of plans that name it; the outputs of the lower stages, which are for training, are not returned.
    """

    def __init__(
        self,
        input_channels: int,
        n_stages: int,
        features_per_stage: PerStage,
        conv_op: type[nn.Module],
        kernel_sizes: PerStage,
        strides: PerStage,
        n_conv_per_stage: PerStage,
        num_classes: int,
        n_conv_per_stage_decoder: PerStage,
        deep_supervision: bool = False,
        **layers: Any,
    ):
        super().__init__()
        kit = Kit(conv_op, **layers)
        features, kernels, steps, up = _stages(
            n_stages, features_per_stage, kernel_sizes, strides, n_conv_per_stage_decoder
        )
        counts = _each(n_conv_per_stage, n_stages, "n_conv_per_stage")
        inputs = [input_channels, *features]
        stages = zip(counts, inputs, features, kernels, steps, strict=False)
        self.encoder = Encoder([nn.Sequential(StackedConvBlocks(kit, *each)) for each in stages])
        self.decoder = UNetDecoder(self.encoder, kit, features, kernels, steps, up, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, num_classes, *grid)."""
        return self.decoder(self.encoder(x))


class ResidualEncoderUNet(nn.Module):
    """The U-Net of nnU-Net's ResEnc presets: residual blocks down, convolutions up.

    Parameters
    ----------
    n_blocks_per_stage
        One for all stages, or one per stage.
    block
        `BasicBlockD` or `BottleneckD`.
    bottleneck_channels
        Width of the latter, one for all stages or one per stage.
    stem_channels
        Channels before the first stage; as many as that has by default.
    input_channels, n_stages, features_per_stage, conv_op, kernel_sizes, strides, num_classes, n_conv_per_stage_decoder
        As of `PlainConvUNet`, and the others, too.
    """

    residual_decoder: ClassVar[bool] = False

    def __init__(
        self,
        input_channels: int,
        n_stages: int,
        features_per_stage: PerStage,
        conv_op: type[nn.Module],
        kernel_sizes: PerStage,
        strides: PerStage,
        n_blocks_per_stage: PerStage,
        num_classes: int,
        n_conv_per_stage_decoder: PerStage,
        deep_supervision: bool = False,
        block: type[BasicBlockD] | type[BottleneckD] = BasicBlockD,
        bottleneck_channels: Any = None,
        stem_channels: int | None = None,
        **layers: Any,
    ):
        super().__init__()
        kit = Kit(conv_op, **layers)
        features, kernels, steps, up = _stages(
            n_stages, features_per_stage, kernel_sizes, strides, n_conv_per_stage_decoder
        )
        counts = _each(n_blocks_per_stage, n_stages, "n_blocks_per_stage")
        widths = _each(bottleneck_channels, n_stages, "bottleneck_channels")
        first = features[0] if stem_channels is None else stem_channels
        stem = StackedConvBlocks(kit, 1, input_channels, first, kernels[0], 1)
        inputs = [first, *features]
        stages = zip(counts, inputs, features, kernels, steps, widths, strict=False)
        self.encoder = Encoder([StackedResidualBlocks(kit, block, *each) for each in stages], stem)
        self.decoder = UNetDecoder(
            self.encoder, kit, features, kernels, steps, up, num_classes, residual=self.residual_decoder
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, num_classes, *grid)."""
        return self.decoder(self.encoder(x))


class ResidualUNet(ResidualEncoderUNet):
    """The same with residual blocks up as well; `n_conv_per_stage_decoder` counts these."""

    residual_decoder = True


class MeanOfNetworks(nn.Module):
    """Several networks of one kind, such as the folds of a cross-validation; returns the mean of their logits.

    Parameters
    ----------
    networks
        (N, channels, *grid) -> (N, outputs, *grid) each.

    Attributes
    ----------
    only
        The number of the one that answers for all; None for the mean.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.only: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Run one after the other and return the mean."""
        if self.only is not None:
            return self.networks[self.only](x)
        total: Tensor | None = None
        for network in self.networks:
            found = network(x)
            total = found if total is None else total + found
        assert total is not None, "a mean of no networks"
        return total / len(self.networks)

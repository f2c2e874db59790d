"""Which functions need no rule of their own, and what is known of the others, by name.

A function that is homogeneous in all its tensors together (f(t x) = t f(x) for t > 0) passes G on by its own gradient:
sum of x df/dx G = f G.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NATURAL = _names(
    """
    abs absolute alias aminmax adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d alpha_dropout amax amin as_strided as_tensor atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d
    bfloat16 broadcast_to channel_shuffle chunk clone complex constant_pad_nd contiguous cpu cuda cummax cummin cumsum detach diag
    diag_embed diagonal diff double dropout dropout1d dropout2d dropout3d dsplit expand expand_as feature_alpha_dropout
    feature_dropout flatten flip fliplr flipud float fold fractional_max_pool2d fractional_max_pool3d gather get getitem half
    hsplit im2col index_select iter interpolate kthvalue leaky_relu lp_pool1d lp_pool2d lp_pool3d masked_select max
    max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices max_unpool1d
    max_unpool2d max_unpool3d mean median min nanmedian nanquantile nan_to_num mode movedim moveaxis msort mH mT nanmean nansum narrow neg negative norm permute
    quantile pixel_shuffle pixel_unshuffle pos positive prelu ravel real relu repeat repeat_interleave requires_grad reshape
    reshape_as resolve_conj resolve_neg roll rot90 rrelu select slice sort split split_with_sizes squeeze std std_mean sum
    sum_to_size swapaxes swapdims t take take_along_dim tensor_split tile to topk transpose tril triu trapezoid
    trapz type type_as unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample upsample_bilinear upsample_nearest
    vector_norm view view_as vsplit grid_sampler grid_sampler_2d grid_sampler_3d fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2
    fft_ifftn fft_rfft fft_rfft2 fft_rfftn fft_irfft fft_irfft2 fft_irfftn fft_fftshift fft_ifftshift view_as_real
    view_as_complex imag
    """
)
"""Homogeneous functions of one tensor, and linear ones."""

NO_MATHS = frozenset(["register_hook", "retain_grad", "backward"])
"""What is done to a tensor itself."""

JOINT: dict[str, tuple[int, ...]] = {
    "add": (0, 1),
    "radd": (0, 1),
    "iadd": (0, 1),
    "sub": (0, 1),
    "subtract": (0, 1),
    "isub": (0, 1),
    "rsub": (0, 1),
    "cat": (),
    "concat": (),
    "concatenate": (),
    "stack": (),
    "hstack": (),
    "vstack": (),
    "dstack": (),
    "column_stack": (),
    "row_stack": (),
    "where": (1, 2),
    "maximum": (),
    "minimum": (),
    "fmax": (),
    "fmin": (),
    "masked_fill": (2,),
    "masked_scatter": (),
    "index_put": (),
    "index_fill": (3,),
    "hypot": (),
    "block_diag": (),
    "index_copy": (),
    "index_add": (),
    "scatter": (),
    "scatter_add": (),
    "select_scatter": (),
    "slice_scatter": (),
    "setitem": (2,),
    "copy": (),
    "lerp": (),
}
"""Homogeneous functions of several tensors, whose constants absorb relevance; and where a plain number is one."""

NUMBERS_BY_NAME = _names("other value")
"""Arguments of them that are such a number when they are given by name."""

CURVES = _names(
    """
    arctan asinh asin atan arcsinh arctanh atanh celu clamp clamp_max clamp_min clip cos elu erf exp expm1 gelu hardshrink
    exp2 hardsigmoid hardswish hardtanh log1p logsigmoid log_sigmoid mish pow relu6 rpow selu sigmoid expit silu sin sinc sinh softplus softshrink
    softsign special_expit sqrt square tan tanh tanhshrink threshold cosh
    """
)
"""Functions of each value for itself, finite at 0: G_in = G (f(x) - f(0)) / x, and f(0) is absorbed."""

PRODUCTS = _names(
    "mul multiply imul rmul matmul rmatmul imatmul mm bmm mv einsum inner dot outer tensordot linear"
)
"""Products of two factors."""

MATRICES = _names("matmul rmatmul mm bmm mv einsum inner tensordot")
"""Products whose constant factor is taken for weights."""

QUOTIENTS = _names("div divide true_divide truediv rtruediv rdiv idiv itruediv")

RECIPROCALS = _names("reciprocal rsqrt")
"""Functions without a value at 0, as divisors have: taken as fixed."""

GATES = _names(
    "sigmoid expit special_expit hardsigmoid hardtanh relu6 clamp clip softmax gumbel_softmax softmin"
)
"""What returns a gate, where it is a factor: then it is fixed. A clamp counts when it has two bounds."""

SHARES = _names("softmax gumbel_softmax softmin")
"""Gates that have no rule where they are no factor: of what they are made, only the differences count."""

KEEPS_GATE = (
    NATURAL - _names("abs absolute cumsum leaky_relu neg negative norm prelu relu rrelu std sum")
) | _names("mul div true_divide truediv add radd multiply rmul")
"""What a gate stays a gate through."""

RAW = _names(
    """
    alias as_strided avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d clone
    contiguous chunk double dropout dropout2d dropout3d expand expand_as flatten flip float getitem get index_select interpolate
    max_pool1d max_pool2d max_pool3d movedim moveaxis narrow pad permute pixel_shuffle pixel_unshuffle reshape reshape_as roll
    rot90 select split squeeze swapaxes t to transpose type unbind unflatten unsqueeze view view_as
    """
)
"""What an image may pass before its first layer with weights, so that this layer is still the first."""

RESCALES = _names("mul rmul imul div truediv true_divide idiv add radd iadd sub isub rsub neg batch_norm")
"""What a network may do with constants to the values of the image before its first layer."""

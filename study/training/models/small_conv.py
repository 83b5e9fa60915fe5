"""Convolutions of small feature maps on a CPU as matrix products, where oneDNN multiplies mostly padding.

Late stages of a ResNet on 32 to 64 px images see maps of 1x1 to 4x4 pixels. There a 3x3 kernel has more elements than
the map has pixels, and the weight gradient of ``torch.conv2d`` costs two to ten times the arithmetic it needs.
It is also wrong in one case (torch 2.15, oneDNN on AVX512-BF16): for a bf16 3x3 kernel of stride 2 on a 1x1 map, which
16 px images have, the elements that reach no pixel get uninitialised memory.
The choice depends on shapes alone, never on a measurement, so that runs stay reproducible.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

DENSE_INPUT_PX = 2
"""Up to this side of the input the whole convolution is one product: all pixels of the input by all of the output."""
TAPS_OUTPUT_PX = 4
"""Up to this side of the output the weight gradient is one product for each kernel element."""
FEWEST_CHANNELS = 128
"""Below this oneDNN is as fast."""

Gradients = tuple[torch.Tensor | None, torch.Tensor | None, None, None]


class SmallConv2d(nn.Conv2d):
    """A convolution on the CPU without bias; its weight stays float32 and keeps its name in the state dict."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve [B, I, H, W], in bf16 by matrix products where autocast is on and the maps are small."""
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        stride, padding = self.stride[0], int(self.padding[0])
        kernel = self.kernel_size[0]
        longest_in = max(input.shape[2:])
        longest_out = (longest_in + 2 * padding - kernel) // stride + 1
        images = input.to(torch.bfloat16)
        if kernel > 1 and longest_in <= DENSE_INPUT_PX:
            return _apply(_DenseConvolution, images, self.weight, stride, padding)
        if longest_out <= TAPS_OUTPUT_PX:
            return _apply(_TapConvolution, images, self.weight, stride, padding)
        return super().forward(input)


def use_small_conv(model: nn.Module) -> None:
    """Make the convolutions that may see small maps ``SmallConv2d``, in place; for bf16 on a CPU."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_supported(module):
            # The same parameters under the same names: only how the module computes changes.
            module.__class__ = SmallConv2d


def weight_gradient(
    images: torch.Tensor, gradient: torch.Tensor, kernel: int, stride: int, padding: int
) -> torch.Tensor:
    """Compute a convolution's weight gradient, one matrix product for each kernel element.

    A product takes only the pixels its kernel element reaches: no padding is multiplied.

    Args:
        images: [B, I, H, W], the convolution's input.
        gradient: [B, O, Ho, Wo], of its output; same dtype.
        kernel: side of the kernel.
        stride: in both directions.
        padding: on all sides.

    Returns:
        [O, I, kernel, kernel], float32, channels last in memory.
    """
    images, gradient = images.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)  # [B, C, H, W] -> [B, H, W, C]
    height, width, inputs = images.shape[1:]
    outputs = gradient.shape[3]
    rows = [_reach(tap - padding, height, gradient.shape[1], stride) for tap in range(kernel)]
    columns = [_reach(tap - padding, width, gradient.shape[2], stride) for tap in range(kernel)]
    weight = torch.empty(outputs, kernel, kernel, inputs)
    for y, (rows_out, rows_in) in enumerate(rows):
        for x, (columns_out, columns_in) in enumerate(columns):
            above = gradient[:, rows_out, columns_out].reshape(-1, outputs)  # [B*h*w, O]
            below = images[:, rows_in, columns_in].reshape(-1, inputs)  # [B*h*w, I]
            weight[:, y, x] = above.t() @ below  # zeros where the element reaches no pixel
    return weight.permute(0, 3, 1, 2)


def dense_matrix(weight: torch.Tensor, height: int, width: int, stride: int, padding: int) -> torch.Tensor:
    """Return the matrix of a convolution on maps of one size.

    Args:
        weight: [O, I, k, k].
        height: H of the input.
        width: W of the input.
        stride: in both directions.
        padding: on all sides.

    Returns:
        [Ho*Wo*O, H*W*I], bf16.
    """
    outputs, inputs, kernel, _ = weight.shape
    taps = weight.to(torch.bfloat16).permute(0, 2, 3, 1)  # [O, I, k, k] -> [O, k, k, I]
    rows, columns = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
    matrix = torch.zeros(rows, columns, outputs, height, width, inputs, dtype=torch.bfloat16)
    for y in range(rows):
        rows_in, rows_kernel = _window(y * stride - padding, height, kernel)
        for x in range(columns):
            columns_in, columns_kernel = _window(x * stride - padding, width, kernel)
            matrix[y, x, :, rows_in, columns_in] = taps[:, rows_kernel, columns_kernel]
    return matrix.view(rows * columns * outputs, height * width * inputs)


class _DenseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        outputs, _, kernel, _ = weight.shape
        height, width = images.shape[2:]
        matrix = dense_matrix(weight, height, width, stride, padding)
        ctx.save_for_backward(images, matrix)
        ctx.geometry = kernel, stride, padding
        rows = (height + 2 * padding - kernel) // stride + 1
        return _maps(_flat(images) @ matrix.t(), outputs, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Gradients:
        images, matrix = ctx.saved_tensors
        below = _maps(_flat(gradient) @ matrix, *images.shape[1:3]) if ctx.needs_input_grad[0] else None
        weight = weight_gradient(images, gradient, *ctx.geometry) if ctx.needs_input_grad[1] else None
        return below, weight, None, None


class _TapConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        cast = weight.to(torch.bfloat16)
        ctx.save_for_backward(images, cast)
        ctx.geometry = weight.shape[2], stride, padding
        return torch.conv2d(images, cast, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Gradients:
        images, cast = ctx.saved_tensors
        _, stride, padding = ctx.geometry
        below = None
        if ctx.needs_input_grad[0]:
            below = conv2d_input(images.shape, cast, gradient, stride, padding)
        weight = weight_gradient(images, gradient, *ctx.geometry) if ctx.needs_input_grad[1] else None
        return below, weight, None, None


def _apply(
    function: type[torch.autograd.Function], images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    maps: torch.Tensor = function.apply(images, weight, stride, padding)
    return maps


def _is_supported(conv: nn.Conv2d) -> bool:
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
    plain = conv.groups == 1 and conv.bias is None and conv.dilation[0] == 1 and not isinstance(conv.padding, str)
    return square and plain and min(conv.in_channels, conv.out_channels) >= FEWEST_CHANNELS


def _reach(offset: int, size_in: int, size_out: int, stride: int) -> tuple[slice, slice]:
    """Return which outputs a kernel element contributes to, and which inputs it reads for them."""
    first = max(0, -(offset // stride))  # the first output whose input is not before the edge
    last = min(size_out - 1, (size_in - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


def _window(start: int, size_in: int, kernel: int) -> tuple[slice, slice]:
    """Return which inputs an output reads, and with which kernel elements."""
    first, stop = max(0, start), min(size_in, start + kernel)
    return slice(first, stop), slice(first - start, stop - start)


def _flat(maps: torch.Tensor) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1).flatten(1)  # [B, C, H, W] -> [B, H*W*C]


def _maps(flat: torch.Tensor, channels: int, height: int) -> torch.Tensor:
    return flat.view(len(flat), height, -1, channels).permute(0, 3, 1, 2)  # [B, H*W*C] -> [B, C, H, W]

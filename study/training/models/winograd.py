"""3x3 convolutions of small maps in float32 on a CPU, with fewer multiplications than ``torch.conv2d`` needs.

Winograd's minimal filtering (Winograd 1980; Lavin & Gray 2016): a small matrix transforms each tile of the input,
another one the kernel, they are multiplied element by element and transformed back. Summed over the channels, each
element is a matrix product: 4x4 outputs take 36 products in place of 144, and no padding is multiplied. Both gradients
are the same products transposed. The error is about 2e-6 of the result, as against 5e-7 of a direct convolution.
The choice depends on shapes alone, never on a measurement, so that runs stay reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.autograd.function import once_differentiable

KERNEL = 3
TILE_OUTPUTS = (4, 3)
"""Outputs of a tile along one side; more need points whose powers lose digits."""
POINTS = tuple(map(Fraction, (0, 1, -1, 2, -2)))
LARGEST_INPUT_PX = 16
"""Above this side the transforms, which move memory, cost what the products save."""
LARGEST_STRIDED_OUTPUT_PX = 2
"""With stride 2 only padding is saved, which is worth it up to this side."""
FEWEST_CHANNELS = 64
"""Below this the products are too small."""

Matrix = NDArray[np.float64]
Exact = list[list[Fraction]]
Gradients = tuple[torch.Tensor | None, torch.Tensor | None, None]


@dataclass(frozen=True)
class Algorithm:
    """A bilinear algorithm of a convolution along one side: outputs = after @ ((kernel @ w) * (before @ inputs)).

    Attributes:
        after: [outputs, tiles * products].
        kernel: [products, 3], the same for every tile.
        before: [tiles * products, inputs].
        tiles: along the side.
    """

    after: Matrix
    kernel: Matrix
    before: Matrix
    tiles: int

    @property
    def products(self) -> int:
        """Multiplications of a tile."""
        return len(self.kernel)


def minimal_filtering(outputs: int) -> Algorithm:
    """Make F(outputs, 3), for inputs without padding, by Toom and Cook's interpolation."""
    products = outputs + KERNEL - 1
    points = POINTS[: products - 1]

    def powers(count: int) -> Exact:
        """Return the first powers of every point and, last, of infinity."""
        at_infinity = [Fraction(power == count - 1) for power in range(count)]
        return [*([point**power for power in range(count)] for point in points), at_infinity]

    kernel = powers(KERNEL)
    before = [list(column) for column in zip(*_inverse(powers(products)), strict=True)]
    for row in range(products):  # whole numbers for the inputs, fractions for the kernel
        scale = math.lcm(*(number.denominator for number in before[row]))
        before[row] = [number * scale for number in before[row]]
        kernel[row] = [number / scale for number in kernel[row]]
    return Algorithm(_array(powers(outputs)).T, _array(kernel), _array(before), tiles=1)


def direct(inputs: int, stride: int) -> Algorithm:
    """Make the algorithm of one product for each output and each kernel element that does not meet the padding."""
    outputs = output_size(inputs, stride)
    reached = [(o, tap) for o in range(outputs) for tap in range(KERNEL) if 0 <= o * stride + tap - 1 < inputs]
    after, kernel, before = (np.zeros((len(reached), size)) for size in (outputs, KERNEL, inputs))
    for product, (output, tap) in enumerate(reached):
        after[product, output] = kernel[product, tap] = before[product, output * stride + tap - 1] = 1
    return Algorithm(after.T, kernel, before, tiles=1)


PAIR = Algorithm(
    after=np.array([[1.0, 1, 0], [1, 0, 1]]),
    kernel=np.array([[0.0, 1, 0], [0, -1, 1], [1, -1, 0]]),
    before=np.array([[1.0, 1], [0, 1], [1, 0]]),
    tiles=1,
)
"""Of two inputs with stride 1: a Toeplitz matrix times a vector takes 3 products in place of 4."""


def output_size(inputs: int, stride: int) -> int:
    """Return the side of the output of a 3x3 convolution with padding 1."""
    return (inputs - 1) // stride + 1


@cache
def algorithm(inputs: int, stride: int) -> Algorithm:
    """Return the algorithm for a side of ``inputs`` with padding 1; for stride 1 the one with the fewest products."""
    if stride > 1 or inputs == 1:
        return direct(inputs, stride)
    if inputs == 2:
        return PAIR
    tiled = [_tiled(minimal_filtering(outputs), inputs) for outputs in TILE_OUTPUTS]
    return min(tiled, key=lambda made: made.tiles * made.products)


def _tiled(tile: Algorithm, inputs: int) -> Algorithm:
    """Lay tiles side by side over a padded side; what lies on the padding or beyond the last output is left out."""
    step, width = len(tile.after), tile.products
    tiles = math.ceil(inputs / step)
    before = np.zeros((tiles * width, 1 + max(inputs, tiles * step) + 1))
    for index in range(tiles):
        before[index * width : (index + 1) * width, index * step : index * step + width] = tile.before
    after = np.asarray(np.kron(np.eye(tiles), tile.after), dtype=np.float64)
    return Algorithm(after[:inputs], tile.kernel, before[:, 1 : inputs + 1], tiles)


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution on the CPU without bias; its weight keeps its name in the state dict."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve [B, I, H, W], by Winograd's algorithm where the maps are square, small and enough for it to pay."""
        if not self._pays(input):
            return super().forward(input)
        maps: torch.Tensor = _WinogradConvolution.apply(input, self.weight, self.stride[0])
        return maps

    def _pays(self, input: torch.Tensor) -> bool:
        (height, width), stride = input.shape[2:], self.stride[0]
        if height != width or height > LARGEST_INPUT_PX:
            return False
        if input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        if stride > 1 and output_size(height, stride) > LARGEST_STRIDED_OUTPUT_PX:
            return False
        made = algorithm(height, stride)
        # The kernel is transformed once a step; on fewer tiles than it then has elements that takes longest.
        return len(input) * made.tiles**2 >= made.products**2


def use_winograd(model: nn.Module) -> None:
    """Make the 3x3 convolutions that may see small maps ``WinogradConv2d``, in place; for float32 on a CPU."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_supported(module):
            # The same parameters under the same names: only how the module computes changes.
            module.__class__ = WinogradConv2d


def _is_supported(conv: nn.Conv2d) -> bool:
    shape = (conv.kernel_size, conv.padding, conv.dilation, conv.groups) == ((KERNEL, KERNEL), (1, 1), (1, 1), 1)
    plain = conv.bias is None and conv.stride in ((1, 1), (2, 2)) and conv.padding_mode == "zeros"
    return shape and plain and min(conv.in_channels, conv.out_channels) >= FEWEST_CHANNELS


class _WinogradConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
        plan = _plan(images.shape[2], stride)
        spread, kernels = plan.spread(images, plan.before), plan.kernels(weight)
        ctx.save_for_backward(spread, kernels)
        ctx.plan = plan
        # [R, Q, I] and [O, Q, I] -> [Q, R, O]
        maps = [torch.bmm(rows.transpose(0, 1), kernel.permute(1, 2, 0)) for rows, kernel in _groups(spread, kernels)]
        return plan.gather(maps, plan.after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Gradients:
        spread, kernels = ctx.saved_tensors
        plan: _Plan = ctx.plan
        above = plan.spread(gradient, plan.after_t)
        below = weight = None
        if ctx.needs_input_grad[0]:
            # [R, Q, O] and [O, Q, I] -> [Q, R, I]
            maps = [torch.bmm(rows.transpose(0, 1), kernel.transpose(0, 1)) for rows, kernel in _groups(above, kernels)]
            below = plan.gather(maps, plan.before_t)
        if ctx.needs_input_grad[1]:
            weight = plan.weight_gradient(above, spread)
        return below, weight, None


def _groups(spread: torch.Tensor, kernels: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the rows [R, Q, C] of each group with its kernels [O, Q, I]."""
    yield from zip(spread, kernels.view(len(kernels), len(spread), -1, kernels.shape[2]).unbind(1), strict=True)


class _Plan:
    """The matrices of an algorithm for both sides of a map, with P products and T tiles a side.

    Transformed maps are [G, R, Q, C], with R = B * T * T rows: the P * P products of a tile are one group where one
    tile covers the map, else P groups of P, so that less is copied between the transforms of the two sides.
    """

    def __init__(self, made: Algorithm) -> None:
        self.products, self.tiles = made.products, made.tiles

        def both_sides(matrix: Matrix) -> torch.Tensor:
            return _tensor(np.kron(matrix, matrix)) if made.tiles == 1 else _tensor(matrix)

        self.before, self.before_t = both_sides(made.before), both_sides(made.before.T)
        self.after, self.after_t = both_sides(made.after), both_sides(made.after.T)
        self._kernel = _tensor(np.kron(made.kernel, made.kernel))  # [P*P, 9]
        self._kernel_t = _tensor(np.kron(made.kernel, made.kernel).T)

    def spread(self, maps: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Transform [B, C, H, H] by a matrix [T*P, H] along both sides: [G, R, Q, C]."""
        images, channels, size = maps.shape[:3]
        pixels = maps.permute(0, 2, 3, 1)  # [B, C, H, H] -> [B, H, H, C]
        if self.tiles == 1:
            return _transform(matrix, pixels.reshape(images, size * size, channels)).unsqueeze(0)
        rows = images * self.tiles
        lines = _transform(matrix, pixels.reshape(images, size, size * channels))  # [B, T*P, H*C]
        lines = lines.view(rows, self.products, size, channels)
        spread = maps.new_empty(self.products, rows, self.tiles * self.products, channels)
        for group in range(self.products):
            torch.bmm(matrix.expand(rows, -1, -1), lines[:, group], out=spread[group])
        return spread.view(self.products, rows * self.tiles, self.products, channels)

    def gather(self, groups: Sequence[torch.Tensor], matrix: torch.Tensor) -> torch.Tensor:
        """Transform G times [Q, R, C] by a matrix [H, T*P] along both sides: [B, C, H, H], channels last in memory."""
        rows, channels = groups[0].shape[1:]
        if self.tiles == 1:
            size = math.isqrt(len(matrix))
            return _transform(matrix, groups[0].transpose(0, 1)).view(rows, size, size, channels).permute(0, 3, 1, 2)
        size, images = len(matrix), rows // self.tiles**2
        lines = groups[0].new_empty(images * self.tiles, self.products, size, channels)
        for index, group in enumerate(groups):
            tiles = group.view(self.products, images * self.tiles, self.tiles, channels).permute(1, 2, 0, 3)
            lines[:, index] = _transform(matrix, tiles.reshape(len(tiles), -1, channels))
        maps = _transform(matrix, lines.view(images, self.tiles * self.products, size * channels))
        return maps.view(images, size, size, channels).permute(0, 3, 1, 2)

    def kernels(self, weight: torch.Tensor) -> torch.Tensor:
        """Transform [O, I, 3, 3] to [O, P*P, I]."""
        return _transform(self._kernel, weight.permute(0, 2, 3, 1).flatten(1, 2))  # [O, I, 3, 3] -> [O, 9, I]

    def weight_gradient(self, above: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """Return [O, I, 3, 3], channels last in memory, of the transformed output gradient and input."""
        groups, products = len(spread), spread.shape[2]
        gradient = spread.new_empty(groups, products, above.shape[3], spread.shape[3])  # [G, Q, O, I]
        for group in range(groups):
            torch.bmm(above[group].permute(1, 2, 0), spread[group].transpose(0, 1), out=gradient[group])
        taps = _transform(self._kernel_t, gradient.flatten(0, 1).transpose(0, 1))  # [P*P, O, I] -> [O, 9, I]
        return taps.view(len(taps), KERNEL, KERNEL, -1).permute(0, 3, 1, 2)


def _transform(matrix: torch.Tensor, batches: torch.Tensor) -> torch.Tensor:
    """Multiply [B, N, C] by a matrix [M, N] from the left: [B, M, C]."""
    return torch.bmm(matrix.expand(len(batches), -1, -1), batches)


@cache
def _plan(inputs: int, stride: int) -> _Plan:
    return _Plan(algorithm(inputs, stride))


def _tensor(matrix: NDArray[np.floating[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))


def _array(rows: Exact) -> Matrix:
    return np.array([[float(number) for number in row] for row in rows])


def _inverse(matrix: Exact) -> Exact:
    """Invert a matrix of fractions by Gauss and Jordan's elimination."""
    size = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column] != 0)
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [number / rows[column][column] for number in rows[column]]
        for i in range(size):
            if i != column:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[size:] for row in rows]

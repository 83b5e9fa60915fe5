"""The variance between seeds for averages over many configurations, which may scatter differently."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.variance_components import Runs, shared_scales

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OwnSpread:
    """The variance between the seeds of each configuration by itself.

    A linear combination of means has the larger of what the variances of its configurations and their mean give.

    Attributes:
        total: [configurations], between runs on the same images, as observed.
        images: [configurations], the part of it that images cause, because runs err on different ones.
        df: [configurations], degrees of freedom of ``total``.
        most_df: degrees of freedom of all together.
        runs: [configurations], number of seeds.
    """

    total: Floats
    images: Floats
    df: Floats
    most_df: int
    runs: NDArray[np.int64]

    @property
    def of_means(self) -> Floats:
        """[configurations], the variances of the means that seeds cause, those that images cause in them too."""
        variances: Floats = self.total / self.runs
        return variances

    def of_combinations(self, weights: Floats) -> Floats:
        """Return [combinations], the variances that seeds cause beside the images, at least 0."""
        variances: Floats = np.maximum(self._observed(weights) - weights**2 @ (self.images / self.runs), 0)
        return variances

    def df_of(self, weights: Floats) -> Floats:
        """Return [combinations], the degrees of freedom of their variances.

        Squared variances are estimated without a correction, as few seeds otherwise hide a configuration that
        scatters: it has more wrong rows than 7 % then.

        Source: Satterthwaite 1946.
        """
        parts = weights**2 * (self.total / self.runs)  # [combinations, configurations]
        squares = (parts**2 / self.df).sum(axis=1)
        estimate = np.where(squares > 0, parts.sum(axis=1) ** 2 / np.where(squares > 0, squares, 1), self.most_df)
        df: Floats = np.round(np.clip(estimate, self.df.min(), self.most_df), 1)
        return df

    def nodes_of(self, weights: Floats, count: int) -> Floats:
        """Return [count, combinations], equally likely variances beside the images, in one order for all."""
        scales = np.column_stack([shared_scales(float(df), count) for df in self.df_of(weights)])
        nodes: Floats = self._observed(weights) * scales - weights**2 @ (self.images / self.runs)
        return nodes

    def _observed(self, weights: Floats) -> Floats:
        pooled = np.average(self.total, weights=self.df)
        observed: Floats = np.maximum(weights**2 @ self.of_means, weights**2 @ (pooled / self.runs))
        return observed


def own_spread(runs: Runs) -> OwnSpread:
    """Estimate the variance between the seeds of each configuration from its own runs.

    Where all ran with the same seeds, what a seed does to all alike is taken out; that mixes a little of every
    configuration's variance into each. A configuration with one seed has the mean of the others.

    Args:
        runs: at least one configuration has several seeds.
    """
    size, counts = len(runs.counts), runs.counts
    df: Floats = counts.astype(np.float64) - 1
    several, is_paired = df > 0, runs.is_balanced and size > 1
    share = 1 / size if is_paired else 0.0
    total, images = (_squares(each, share) / np.maximum(df, 1) / (1 - share) for each in runs.products)
    total[~several], images[~several] = total[several].mean(), images[several].mean()
    most = int(df.sum() - (df[0] if is_paired else 0))
    return OwnSpread(total, images, np.maximum(df, 1.0), max(most, 1), counts)


def _squares(products: Floats, share: float) -> Floats:
    """Return [configurations], the squares of what is left when a share of all is taken out of each."""
    squares: Floats = np.diagonal(products) - 2 * share * products.sum(axis=1) + share**2 * products.sum()
    return np.maximum(squares, 0)

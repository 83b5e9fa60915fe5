"""Say how much of a difference may be chance; pure functions."""

from __future__ import annotations

import math


def auc_standard_error(auc: float, positives: int, negatives: int) -> float:
    """Estimate the standard error of a ROC AUC from the number of images it was measured on.

    The formula gives 0 at an AUC of 1, as if few images ranked right proved it; there the AUC is taken as
    1 - 0.5 / (n + 1), with n images of the rarer class, and likewise at 0.

    Args:
        auc: in [0, 1].
        positives: images of the positive class, at least 1.
        negatives: images of the negative class, at least 1.

    Source: Hanley & McNeil 1982, equation 1, with their exponential approximation of Q1 and Q2.
    """
    edge = 0.5 / (min(positives, negatives) + 1)
    auc = min(max(auc, edge), 1 - edge)
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def proportion_standard_error(proportion: float, count: int) -> float:
    """Estimate the standard error of a fraction measured on ``count`` images.

    The Agresti-Coull form adds two successes and two failures: 100 % right on few images is not certain.
    """
    adjusted = (proportion * count + 2) / (count + 4)
    return math.sqrt(adjusted * (1 - adjusted) / (count + 4))

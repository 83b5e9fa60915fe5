"""What a registered model carries beside its graph: temperature, threshold and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.export.calibration import calibrate, logits_of
from study.export.card.card_metrics import bundle_metrics
from study.export.card.model_card import bundle_card
from study.export.checkpoint_export import bundle_config, read_scored, select_threshold
from study.export.export_request import ExportOptions, FinalScores, Provenance, StudyFacts
from study.training.metrics import sigmoid


@dataclass(frozen=True)
class RegisteredFacts:
    """How the scores of a registered graph, which are not calibrated, become probabilities and decisions.

    Attributes:
        temperature: what logits of the scores are divided by to calibrate them.
        threshold: of the calibrated probability; None for more than two classes.
        score_threshold: the same, of the score.
        card: the model card.
    """

    temperature: float
    threshold: float | None
    score_threshold: float | None
    card: str


def registered_facts(
    checkpoint: Path, model_uri: str, origin: Provenance, test: FinalScores, facts: StudyFacts, rule: str
) -> RegisteredFacts:
    """Return what a registered checkpoint carries, from its stored validation scores.

    Args:
        checkpoint: its folder, which need not hold the weights.
        model_uri: by which MLflow loads it.
        origin: where it comes from.
        test: its scores on the test images.
        facts: what else its card says.
        rule: of ``choose_threshold``.

    Raises:
        ExportError: the checkpoint cannot be read.
        UsageError: the rule does not go with its classes.
    """
    card, scored = read_scored(checkpoint)
    logits = logits_of(scored.scores)
    calibration = calibrate(logits, scored.labels)
    threshold = select_threshold(rule, logits / calibration.temperature, scored.labels)
    options = ExportOptions(formats=("pt2",), threshold=rule)
    config = bundle_config(card, origin, test, calibration, threshold, options)
    metrics = bundle_metrics(config, scored, calibration, test, facts, None) | {"formats": []}
    on_score = None
    if threshold is not None:
        on_score = float(sigmoid(logits_of(np.array([threshold])) * calibration.temperature)[0])
    usage = _usage(config, model_uri, on_score)
    return RegisteredFacts(calibration.temperature, threshold, on_score, bundle_card(config, metrics, usage))


def _usage(config: Mapping[str, Any], model_uri: str, on_score: float | None) -> str:
    size = config["preprocessing"]["image_size_px"]
    text = f"""```python
scores = mlflow.pyfunc.load_model("{model_uri}").predict(images)  # uint8 RGB [N, {size}, {size}, 3]
```

Scores are as in training, not calibrated."""
    if on_score is None:
        return (
            f"{text} To calibrate them, take them to the power 1 / {config['temperature']:.6g} and divide by the sum."
        )
    return (
        f"{text} Calibrated they are `1 / (1 + (1 / score - 1) ** (1 / {config['temperature']:.6g}))`. A score above "
        f"{on_score:.6g}, which is calibrated {config['threshold']:.6g} (`{config['threshold_rule']}`, chosen on "
        f"validation), means `{config['positive_class']}`."
    )

"""bf16 learns the built-in images as float32 does."""

from __future__ import annotations

from pathlib import Path

from training_kit import run, short_trial

from study.config.study_config import DataSpec
from study.data.sources import load_data
from study.training.dataset import TrainingData

BUILT_IN = DataSpec(count=800, fractions=(0.6, 0.4, 0.0), image_size_px=32)


def test_bf16_reaches_the_auc_of_float32_on_the_built_in_images(tmp_path: Path) -> None:
    bundle = load_data(BUILT_IN, workers=1)
    data = TrainingData(
        bundle.train.images,
        bundle.train.labels,
        bundle.val.images,
        bundle.val.labels,
        classes=bundle.classes,
        fingerprint=bundle.summary.fingerprint,
    )
    best = {}
    for precision in ("fp32", "bf16"):
        # Averaged weights and a falling rate: a single epoch of 480 images jumps by more than the precisions differ.
        config = short_trial(
            precision=precision,
            channels_last=precision == "bf16",
            weight_decay=1e-4,
            ema_decay=0.95,
            schedule="cosine",
            augmentation="flip",
            max_epochs=7,
        )
        best[precision] = run(config, data, tmp_path / precision).best_value or 0.0
    # With AVX512-BF16 0.8938 and 0.8912, with seed 5 0.8500 and 0.8582; rounding differs between processors.
    standard_error = 0.018
    assert min(best.values()) > 0.85 - 2 * standard_error, best
    assert abs(best["fp32"] - best["bf16"]) <= 2 * standard_error, best

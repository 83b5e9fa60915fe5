"""Hand a study's images to its trials."""

from __future__ import annotations

from study.data.bundle import DataBundle
from study.training.data import LabelledImages, TrainingData, pixel_statistics


def training_data(data: DataBundle, resize: str) -> TrainingData:
    """Return what trials learn from and are judged on; the test images are not among it.

    Args:
        data: the study's images.
        resize: how pictures were made square: crop, stretch or pad.
    """
    mean, std = pixel_statistics(data.train.images)
    return TrainingData(
        train_images=data.train.images,
        train_labels=data.train.labels,
        val_images=data.val.images,
        val_labels=data.val.labels,
        classes=data.classes,
        fingerprint=data.summary.fingerprint,
        shifted={name: LabelledImages(one.images, one.labels) for name, one in data.shifted.items()},
        mean=mean,
        std=std,
        resize=resize,
    )

"""Every hyperparameter of the training function as a frozen, validated model; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from study.config.augmentation_spec import check_augmentation, check_unmixed

Scalar: TypeAlias = bool | int | float | str
Setting: TypeAlias = Scalar | tuple[int, ...] | None
"""What a hyperparameter can be; a searched one is a scalar."""
Family = Literal["resnet", "wide_resnet", "resnext", "resnet_v2"]
Depth = Literal[10, 18, 34, 50, 101, 152]
Head = Literal["linear", "mlp"]
PlainInit = Literal["kaiming", "xavier", "orthogonal", "zero_residual", "imagenet", "rotation"]
Init = PlainInit | Annotated[str, Field(pattern=r"^(checkpoint|run):.+$", description="checkpoint:PATH or run:RUN_ID")]
Freeze = Literal["none", "stages<=1", "stages<=2", "stages<=3", "backbone"]
Normalization = Literal["none", "half", "symmetric", "imagenet", "dataset"]
Augmentation = Annotated[
    str, AfterValidator(check_augmentation), Field(description="an augmentation such as flip+rotate(15)")
]
UnmixedAugmentation = Annotated[
    str, AfterValidator(check_unmixed), Field(description="an augmentation such as flip+colour(0.2), without mixing")
]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]
Schedule = Literal["constant", "multistep", "cosine", "one_cycle"]
Precision = Literal["auto", "fp32", "bf16"]

DEFAULT_SGD_MOMENTUM = 0.9
DEPTHS: dict[str, tuple[int, ...]] = {
    "resnet": (10, 18, 34, 50, 101, 152),
    "wide_resnet": (50,),
    "resnext": (50,),
    "resnet_v2": (50, 101, 152),
}
BELONGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimizer", ("sgd",)),
    "nesterov": ("optimizer", ("sgd",)),
    "milestones": ("schedule", ("multistep",)),
    "gamma": ("schedule", ("multistep",)),
    "head_width": ("head", ("mlp",)),
    "focal_gamma": ("loss", ("focal",)),
}
"""Hyperparameters that mean something only beside some values of another one."""


def in_use(config: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the hyperparameters that mean something beside the others, None left out; names of other things stay."""
    return {name: value for name, value in config.items() if value is not None and is_in_use(name, config)}


def is_in_use(name: str, config: Mapping[str, Setting]) -> bool:
    """Whether a hyperparameter means something beside the others."""
    if name.startswith("early_stopping_") and config.get("early_stopping_patience") is None:
        return False
    owner, values = BELONGS.get(name, (name, ()))
    return owner == name or owner not in config or config[owner] in values


class Frozen(BaseModel):
    """Base of every model here: immutable, no unknown keys, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Hyperparameters(Frozen):
    """Every hyperparameter of the training function, with its default.

    ``momentum`` belongs to SGD alone: None means ``DEFAULT_SGD_MOMENTUM`` there and nothing for the others.
    ``backbone_learning_rate_factor`` multiplies the learning rate of everything but the head.
    ``warmup_epochs`` may be a fraction; ``milestones`` are whole epochs after which the rate is times ``gamma``.
    ``precision`` and ``channels_last`` "auto" take what the hardware is fast at.
    """

    family: Family = "resnet"
    depth: Depth = 18
    head: Head = "linear"
    head_width: Annotated[int, Field(ge=1, le=65_536)] = 1024
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Init = "kaiming"
    freeze: Freeze = "none"
    normalization: Normalization = "imagenet"
    augmentation: Augmentation = "none"
    optimizer: Optimizer = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    nesterov: bool = False
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    backbone_learning_rate_factor: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_norms_and_biases: bool = True
    schedule: Schedule = "constant"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    milestones: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = ()
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    max_epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    early_stopping_metric: str = "val_loss"
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = None
    early_stopping_min_delta: Annotated[float, Field(ge=0)] = 0.0
    precision: Precision = "auto"
    channels_last: Literal["auto", True, False] = "auto"


class TrialConfig(Hyperparameters):
    """One trial as it is run: its hyperparameters, its place in the design and its seed.

    ``point`` numbers the configurations of a design, ``replicate`` the repetitions of one of them.
    """

    seed: int
    point: int
    replicate: int = 0

    def resolved_momentum(self) -> float | None:
        """Return the momentum SGD really uses, None for an optimizer without one."""
        if self.optimizer != "sgd":
            return None
        return DEFAULT_SGD_MOMENTUM if self.momentum is None else self.momentum

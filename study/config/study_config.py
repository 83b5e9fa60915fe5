"""A whole study file as a frozen, validated model, with its data and rotation sections; no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from study.config.hyperparameters import Frozen, Hyperparameters, UnmixedAugmentation
from study.config.search_config import (
    BudgetSpec,
    DesignSpec,
    KeepSpec,
    Objective,
    PrunerName,
    ReplicatesSpec,
    ResourceSpec,
    SearchSpec,
)
from study.config.search_space import Constant, Parameter

Source = Literal["faces", "folder"]


@dataclass(frozen=True)
class SourceKeys:
    """Keys of ``data`` that only one source has, those it needs, and those that mean another thing for each source."""

    own: tuple[str, ...]
    required: Mapping[str, str] = field(default_factory=dict)
    ambiguous: tuple[str, ...] = ("classes",)


SOURCE_KEYS: Mapping[str, SourceKeys] = {
    "faces": SourceKeys(own=("count",)),
    "folder": SourceKeys(
        own=("path", "group_by"), required={"path": "the directory of the images"}, ambiguous=("classes", "shifted")
    ),
}
"""By source; of ``required`` the values say what a key holds."""


class DataSpec(Frozen):
    """Where the images come from.

    ``count`` is the number of train + val + test images of the built-in generator;
    ``fractions`` are the shares of train, val and test in it, or in a folder that has no such sub-folders.
    ``classes`` maps folder names (of the built-in faces: masked, unmasked, nose, chin) to class names;
    ``shifted`` maps names to folders of further images that only score a trial's selected checkpoint;
    ``group_by`` is a regular expression whose first group, or whole match, in a file's path below ``path`` keeps files
    in one split.
    """

    source: Source = "faces"
    path: str | None = None
    image_size_px: Annotated[int, Field(ge=16, le=1024)] = 64
    count: Annotated[int, Field(ge=40, le=1_000_000)] = 2000
    fractions: Annotated[
        tuple[
            Annotated[float, Field(gt=0, lt=1)],
            Annotated[float, Field(gt=0, lt=1)],
            Annotated[float, Field(ge=0, lt=1)],
        ],
        Field(strict=False),
    ] = (0.6, 0.2, 0.2)
    seed: Annotated[int, Field(ge=0)] = 0
    stratify: bool = True
    group_by: str | None = None
    resize: Literal["crop", "stretch", "pad"] = "crop"
    classes: dict[str, str] = Field(default_factory=dict)
    shifted: dict[str, str] = Field(default_factory=dict)


class RotationSpec(Frozen):
    """How ``init: rotation`` is prepared: by telling turned training images apart, before the trials.

    ``batch_size`` counts images before they are turned; each then comes in all four directions.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    augmentation: UnmixedAugmentation = "none"


class StudySpec(Frozen):
    """A whole study file after every check; ``space`` is ordered so that conditions come after what they ask.

    With several ``objectives`` the first is ``objective`` too: it selects a trial's epoch.
    ``warm_start`` names studies whose finished trials the sampler is given.
    """

    name: Annotated[str, Field(min_length=1, max_length=150)]
    objective: Objective = Objective(metric="val_auc", mode="max")
    objectives: Annotated[tuple[Objective, ...], Field(strict=False)] = ()
    data: DataSpec = DataSpec()
    trial: Hyperparameters = Hyperparameters()
    rotation: RotationSpec = RotationSpec()
    space: Annotated[tuple[Parameter, ...], Field(strict=False)] = ()
    design: DesignSpec = DesignSpec()
    replicates: ReplicatesSpec = ReplicatesSpec()
    search: SearchSpec = SearchSpec()
    warm_start: Annotated[tuple[str, ...], Field(strict=False)] = ()
    budget: BudgetSpec = BudgetSpec()
    keep: KeepSpec = KeepSpec()
    resources: ResourceSpec = ResourceSpec()
    on_missing_weights: Literal["drop", "fail"] = "drop"

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        """Read what was stored when a grid was still a sampler with a number of trials."""
        search = values.get("search") if isinstance(values, dict) else None
        if not isinstance(search, dict) or search.get("sampler") != "grid":
            return values
        kept = {key: value for key, value in search.items() if key not in ("sampler", "trials")}
        return {**values, "design": {"kind": "grid"}, "search": kept, "budget": {"trials": search.get("trials", 16)}}

    @property
    def objective_list(self) -> tuple[Objective, ...]:
        """Every objective, the one that selects epochs first."""
        return self.objectives or (self.objective,)

    @property
    def pruner(self) -> PrunerName:
        """The pruner, where none is named the one that suits the design."""
        plain_search = self.design.kind == "search" and len(self.objective_list) == 1
        return self.search.pruner or ("asha" if plain_search else "none")

    def searched(self) -> tuple[str, ...]:
        """Return the names of the searched parameters (constants are not), conditions after what they ask."""
        return tuple(parameter.name for parameter in self.space if not isinstance(parameter.domain, Constant))


def stable_seed(*parts: object) -> int:
    """Derive a seed in [0, 2**63) from parts with a stable text form; the one source of randomness."""
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

"""Record learning curves all over a search space, for `search_efficiency.py` to replay.

Run: python tests/benchmarks/learning_curves.py [--seconds 300] [--curves 400] [--out FILE.json]

ResNet-10 on 480 of the built-in faces at 32 px, validated on 720 others, for 16 epochs on one thread, by the parts of
the training function; nothing is written beside the curves. The configurations are a Sobol sequence over the space
below, drawn by the product's own sampler `qmc`. The first ones are trained with a second seed too, which tells how far
chance alone moves a curve. A trial whose loss is not finite has the epochs before. After so many seconds it stops; the
next call goes on where it was, and the file names the machine of the last one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import commit_of, describe_machine

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import Objective, SearchSpec
from study.config.search_space import Choice, Condition, Parameter, Uniform
from study.config.study_config import DataSpec, StudySpec
from study.data import load_data
from study.engine.ray.trainable import training_data
from study.errors import NonFiniteLossError
from study.files import write_atomic
from study.paths import StudyLayout
from study.records import DataSummary
from study.storage.study_storage import StudyStorage
from study.training.dataset import DeviceImages
from study.training.learner import image_order, make_learner, normalization, train_epoch
from study.training.models.architectures import predict
from study.training.trainer import validation_metrics
from study.training.training_data import TrainingData

ROOT = Path(__file__).resolve().parents[2]
CURVES = ROOT / "results" / "reference" / "learning_curves.json"
CPU = torch.device("cpu")
EPOCHS = 16
TWICE = 20
DATA = DataSpec(source="faces", image_size_px=32, count=1200, fractions=(0.4, 0.6, 0.0))
SPACE = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam", "adamw"))),
    Parameter(
        name="momentum",
        domain=Uniform(low=0.0, high=0.99),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
    Parameter(name="weight_decay", domain=Uniform(low=1e-6, high=1e-2, log=True)),
    Parameter(name="label_smoothing", domain=Uniform(low=0.0, high=0.2)),
    Parameter(name="augmentation", domain=Choice(values=("none", "flip", "rotate"))),
    Parameter(name="batch_size", domain=Choice(values=(32, 64))),
)
SEARCHED = tuple(parameter.name for parameter in SPACE)


def study_of(search: SearchSpec) -> StudySpec:
    """Return a study over the space."""
    return StudySpec(
        name="search",
        objective=Objective(metric="val_auc", mode="max"),
        data=DATA,
        trial=Hyperparameters(depth=10, max_epochs=EPOCHS),
        space=SPACE,
        search=search,
    )


def new_storage(folder: Path, spec: StudySpec) -> StudyStorage:
    """Create the storage of a study in an empty folder."""
    layout = StudyLayout(folder / spec.name)
    layout.root.mkdir()
    sizes = {"train": 480, "val": 720}
    data = DataSummary("faces", "f" * 64, DATA.image_size_px, ("masked", "unmasked"), sizes)
    return StudyStorage.create(layout, spec, f"name: {spec.name}\n", data=data)


def configurations(count: int) -> Iterator[TrialConfig]:
    """Yield the first configurations of the sequence, the first ``TWICE`` with a second seed besides."""
    spec = study_of(SearchSpec(sampler="qmc", pruner="none", trials=count))
    with tempfile.TemporaryDirectory() as folder:
        storage = new_storage(Path(folder), spec)
        while (assignment := storage.ask()) is not None:
            yield assignment.config
            if assignment.trial < TWICE:
                yield assignment.config.model_copy(update={"seed": assignment.config.seed + 1})


def learning_curve(config: TrialConfig, data: TrainingData) -> list[float]:
    """Train a configuration and return the validation AUC after each epoch, up to a loss that is not finite."""
    learner, mean_std, values = make_learner(config, data, CPU), normalization(config, data), []
    training, validation = (
        DeviceImages(images, labels, CPU, normalization=mean_std)
        for images, labels in ((data.train_images, data.train_labels), (data.val_images, data.val_labels))
    )
    for epoch in range(1, config.max_epochs + 1):
        try:
            train_epoch(learner, training, image_order(config, data.train_labels, epoch), config, epoch)
            logits = predict(learner.evaluated_network, validation)
            values.append(round(validation_metrics(logits, data)["val_auc"], 5))
        except NonFiniteLossError:
            break
    return values


def main() -> None:
    """Record curves until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--curves", type=int, default=400)
    parser.add_argument("--out", type=Path, default=CURVES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {
        "depth": 10,
        "epochs": EPOCHS,
        "data": DATA.model_dump(mode="json"),
        "space": [parameter.model_dump(mode="json") for parameter in SPACE],
    }
    recorded = json.loads(options.out.read_text()) if options.out.exists() else {"settings": settings, "curves": []}
    if recorded["settings"] != json.loads(json.dumps(settings)):
        raise SystemExit(f"{options.out} was recorded with other settings; give another --out")
    data = training_data(load_data(DATA), "crop")
    until = time.monotonic() + options.seconds
    about = {"machine": describe_machine(), "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    about["commit"] = commit_of(ROOT)
    for number, config in enumerate(configurations(options.curves)):
        if number < len(recorded["curves"]):
            continue
        if time.monotonic() > until:
            break
        searched = {name: value for name in SEARCHED if (value := getattr(config, name)) is not None}
        curve = {"config": searched, "seed": config.seed, "val_auc": learning_curve(config, data)}
        recorded["curves"].append(curve)
        write(options.out, {**recorded, **about})
    print(f"{len(recorded['curves'])} curves in {options.out}")


def write(file: Path, recorded: dict[str, Any]) -> None:
    """Write the file with a line for each curve."""
    curves = ",\n".join(json.dumps(curve) for curve in recorded["curves"])
    head = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in recorded.items() if key != "curves")
    write_atomic(file, lambda out: out.write(f'{{{head},\n"curves": [\n{curves}\n]}}\n'.encode()), sync=False)


if __name__ == "__main__":
    main()

"""Run the fixed list of trials as the tutorials of Ray Tune, torchvision, Optuna and MLflow show it.

This is the baseline `study` is measured against, so it uses nothing of `study`: a function trainable, image
folders read by data loader processes in every epoch, Tune's OptunaSearch and Tune's MLflow callback, each with its
usual settings.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import mlflow
import ray
import torch
from points import Job, read_job
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

EXPERIMENT = "plain_way"


def make_loaders(data_dir, size_px, batch_size, loader_workers):
    transform = transforms.Compose(
        [
            transforms.Resize((size_px, size_px)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    train_set = datasets.ImageFolder(Path(data_dir) / "train", transform)
    val_set = datasets.ImageFolder(Path(data_dir) / "val", transform)
    train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True, num_workers=loader_workers)
    val_loader = DataLoader(val_set, batch_size=batch_size, shuffle=False, num_workers=loader_workers)
    return train_loader, val_loader


def make_optimizer(config, model):
    if config["optimizer"] == "adam":
        return torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    return torch.optim.SGD(model.parameters(), lr=config["learning_rate"], momentum=config["momentum"])


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    total_loss = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images).squeeze(1), labels.float())
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(labels)
    return {"train_loss": total_loss / len(loader.dataset)}


def validate(model, loader, criterion):
    model.eval()
    logits, targets = [], []
    with torch.no_grad():
        for images, labels in loader:
            logits.append(model(images).squeeze(1))
            targets.append(labels.float())
    logits, targets = torch.cat(logits), torch.cat(targets)
    return {
        "val_loss": criterion(logits, targets).item(),
        "val_accuracy": ((logits > 0) == (targets > 0.5)).float().mean().item(),
        "val_auc": float(roc_auc_score(targets.numpy(), logits.numpy())),
    }


def make_model(depth):
    blocks = {10: [1, 1, 1, 1], 18: [2, 2, 2, 2]}[depth]
    return models.ResNet(models.resnet.BasicBlock, blocks, num_classes=1)


def train(config, data_dir, size_px, batch_size, epochs, loader_workers, seed):
    torch.manual_seed(seed)
    model = make_model(config["depth"])
    criterion = nn.BCEWithLogitsLoss()
    optimizer = make_optimizer(config, model)
    train_loader, val_loader = make_loaders(data_dir, size_px, batch_size, loader_workers)

    for epoch in range(epochs):
        metrics = train_one_epoch(model, train_loader, criterion, optimizer)
        metrics |= validate(model, val_loader, criterion)
        with tempfile.TemporaryDirectory() as folder:
            state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder) / "checkpoint.pt")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def search_space(trial):
    trial.suggest_categorical("depth", [10, 18])
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    if optimizer == "sgd":
        trial.suggest_float("momentum", 0.0, 0.99)


def make_tuner(args, job: Job):
    tracking_uri = f"sqlite:///{args.results / 'mlflow.db'}"
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.create_experiment(EXPERIMENT, artifact_location=(args.results / "mlartifacts").as_uri())

    trainable = tune.with_parameters(
        train,
        data_dir=str(args.data),
        size_px=job.image_size_px,
        batch_size=job.batch_size,
        epochs=args.epochs,
        loader_workers=args.loader_workers,
        seed=args.seed,
    )
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric="val_auc",
            mode="max",
            num_samples=len(job.points),
            search_alg=OptunaSearch(space=search_space, metric="val_auc", mode="max", points_to_evaluate=job.points),
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(args.results / "tune"),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="val_auc"),
            callbacks=[MLflowLoggerCallback(tracking_uri=tracking_uri, experiment_name=EXPERIMENT, save_artifact=True)],
        ),
    )


def main():
    start_s = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, one folder per class")
    parser.add_argument("--results", type=Path, required=True, help="an empty or missing folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, help="run only the first N points")
    parser.add_argument("--job", type=Path, help="other points, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loader-workers", type=int, default=2, help="data loader processes per trial")
    args = parser.parse_args()
    args.data, args.results = args.data.resolve(), args.results.resolve()
    args.results.mkdir(parents=True, exist_ok=True)

    # "local": never join a cluster that happens to run on this machine.
    ray.init(address="local", num_cpus=2)
    job = read_job(args.job, args.limit)
    results = make_tuner(args, job).fit()
    if results.errors:
        raise SystemExit(f"{len(results.errors)} of {len(job.points)} trials failed, first: {results.errors[0]}")

    val_auc = [float(result.metrics_dataframe["val_auc"].max()) for result in results]
    ray.shutdown()
    summary = {
        "wall_s": round(time.perf_counter() - start_s, 2),
        "best_val_auc": max(val_auc),
        "val_auc": val_auc,
        "trials": len(val_auc),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

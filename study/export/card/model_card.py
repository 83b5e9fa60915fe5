"""The model card in a bundle, as Markdown with the head that Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from study.metric_catalog import metric_slug

FAMILIES = {"resnet": "ResNet", "wide_resnet": "Wide ResNet", "resnext": "ResNeXt", "resnet_v2": "ResNet V2"}
_HUB_NAMES = {"auc": "roc_auc", "accuracy": "accuracy"}


def bundle_card(config: Mapping[str, Any], metrics: Mapping[str, Any], usage: str | None = None) -> str:
    """Return a model card: what the model is for, how to use it, how well it does and how that is known.

    Args:
        config: the bundle's configuration.
        metrics: what its `metrics.json` says; without formats the card has no section about them.
        usage: how to use it, where that is not by the files of a bundle.
    """
    origin = config["provenance"]
    parts = [
        _head(config, metrics),
        f"# {origin['study']}, trial {origin['trial']}",
        f"A {_model(config['architecture'])} that tells {_classes(config['classes'])} apart in pictures.",
        _masks(config["preprocessing"]),
        "## Use",
        _usage(config) if usage is None else usage,
        "## Limits",
        _limits(config, metrics),
        "## Data",
        _data(config, metrics),
        "## How well it does",
        _measured(config, metrics),
        "## Calibration",
        _calibration(config, metrics["calibration"]),
        "## How it was selected",
        _selection(config, metrics, is_bundle=usage is None),
        *(_formats(config, metrics) if metrics["formats"] else []),
        "## Licence",
        _licence(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return Hugging Face's metadata; JSON values are YAML."""
    origin, model, measured = config["provenance"], config["architecture"], metrics["validation"]["metrics"]
    values = [
        {"type": hub, "value": round(measured[name]["value"], 5), "name": name}
        for name, hub in _HUB_NAMES.items()
        if name in measured
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "imagefolder", "name": metrics["data"]["source"] or origin["study"], "split": "validation"},
        "metrics": values,
    }
    head = {
        **({"license": config["licence"]} if config["licence"] else {"license": "other", "license_name": "not-chosen"}),
        "pipeline_tag": "image-classification",
        "library_name": "onnx" if "onnx" in config["precisions"] else "safetensors",
        "tags": ["image-classification", f"{model['family'].replace('_', '-')}-{model['depth']}"],
        "metrics": [each["type"] for each in values],
        "model-index": [{"name": f"{origin['study']}-trial-{origin['trial']}", "results": [result]}],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=True)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---"])


def _masks(preprocessing: Mapping[str, Any]) -> str:
    """Say that drawn masks prove nothing about real ones; nothing where it is not known that they were drawn."""
    framing = preprocessing.get("framing")
    if not isinstance(framing, Mapping) or framing.get("masks") != "drawn":
        return ""
    return """**The masks in its training images were drawn by a program.** Its accuracy on real masks is unknown until
it is evaluated on photographs of them; the figures below are of drawn ones."""


def _model(model: Mapping[str, Any]) -> str:
    head = "" if model["head"] == "linear" else f" with a hidden layer of {model['head_width']}"
    return f"{FAMILIES[model['family']]}-{model['depth']}{head}"


def _classes(classes: list[str]) -> str:
    return " and ".join([", ".join(f"`{name}`" for name in classes[:-1]), f"`{classes[-1]}`"])


def _usage(config: Mapping[str, Any]) -> str:
    steps, classes = config["preprocessing"], config["classes"]
    size = steps["image_size_px"]
    if len(classes) == 2:
        output = (
            f"`probability` is that of `{config['positive_class']}`; above {config['threshold']:.6g} means yes "
            f"(`--threshold {config['threshold_rule']}`, chosen on validation)"
        )
    else:
        output = f"`probability` has a column for each of {_classes(classes)}; the largest is meant"
    onnx = f"""With onnxruntime, numpy and pillow alone:

```
python predict.py photo.jpg
```

`model.onnx` takes `images`, uint8 RGB [N, {size}, {size}, 3], and gives `logits` and calibrated `probability`;
normalization is inside, resizing is not. {output[0].upper()}{output[1:]}.

""" if "onnx" in config["precisions"] else f"{output[0].upper()}{output[1:]}.\n\n"  # fmt: skip
    graph = """ `model.pt2` is for `torch.export.load`, which runs pickles: load it only
from somebody you trust.""" if "pt2" in config["precisions"] else ""  # fmt: skip
    return f"""{onnx}With this package:

```python
from pathlib import Path

from study.data import decode_image
from study.export import load_bundle

bundle = load_bundle(Path("."))
photo = decode_image(Path("photo.jpg"), {size}, resize="{steps["resize_mode"]}")
print(bundle.scores(photo[None]))
```

Pictures are turned as EXIF says, laid on white where transparent, shrunk with Lanczos or grown with bicubic filtering,
and made square: {steps["resize"]}. Another way to resize, or BGR for RGB, gives other probabilities.
`sha256sum -c SHA256SUMS` checks the files.{graph}"""


def _limits(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    lines = [
        "It answers for every picture, also for one that shows none of its classes, and knows pictures like those it "
        "was trained on. On others it may be wrong with great confidence: measure it on pictures of your own before "
        "you rely on it. It is no basis for decisions about people without somebody who looks."
    ]
    if metrics["data"]["source"].startswith("drawn"):
        lines.append("It was trained on drawn faces and knows nothing about photographs.")
    if "framing" in config["preprocessing"]:
        lines.append("It knows faces cut out as `preprocessing.framing` in `config.json` says; cut out others alike.")
    if not metrics["shifted"]:
        lines.append("It was never measured on pictures that differ from its training pictures on purpose.")
    return " ".join(lines)


def _data(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    source, counts = metrics["data"]["source"], metrics["data"]["class_counts"]
    text = f"{source[0].upper()}{source[1:]}. " if source else ""
    text += f"SHA-256 of the decoded images: `{config['provenance']['data_fingerprint']}`."
    if not counts:
        return text
    heading = ["images", *config["classes"]]
    return f"{text}\n\n{_table(heading, [[name, *map(str, numbers)] for name, numbers in counts.items()])}"


def _measured(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    classes = config["classes"]
    columns = {
        "auc": "AUC", "accuracy": "accuracy",
        **{f"recall.{metric_slug(name)}": f"recall of {name}" for name in classes}, "loss": "loss",
    }  # fmt: skip
    sets = {"validation": metrics["validation"], **{f"shifted: {name}": of for name, of in metrics["shifted"].items()}}
    rows = [_row(name, of_set, columns) for name, of_set in sets.items()]
    decided = "" if config["threshold"] is None else f", decided at {config['threshold']:.4g}"
    test = metrics["test"]
    if test["is_calibrated"]:
        rows.append(_row("test", test, columns))
    table = _table(["images", "number", *columns.values()], rows)
    text = f"{table}\n\nValues with 95 % intervals, of calibrated probabilities{decided}. None of them was trained on."
    if test["is_calibrated"] or not test["metrics"]:
        return f"{text}\n\nTest images: {test['note']}."
    table = _table(["images", "number", *columns.values()], [_row("test", test, columns)])
    return f"{text}\n\n{table}\n\nTest images: {test['note']}. Before calibration, decided at 0.5 or by the likeliest."


def _row(name: str, of_set: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    number = str(of_set["images"] or "-")
    return [name, number, *(interval_text(of_set["metrics"].get(metric)) for metric in columns)]


def interval_text(measured: Mapping[str, float | None] | None) -> str:
    """Return a value with its interval, a dash for none."""
    if measured is None or measured["value"] is None:
        return "-"
    low, high = measured["low"], measured["high"]
    ends = "" if low is None else f" ({low:.3f} and more)" if high is None else f" ({low:.3f} to {high:.3f})"
    return f"{measured['value']:.4f}{ends}"


def _calibration(config: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    how = f"fitted on {found['images']} validation images by likelihood" if not found["note"] else found["note"]
    table = _table(
        ["on validation", "before", "after"],
        [
            ["negative log likelihood", f"{found['nll_before']:.4f}", f"{found['nll_after']:.4f}"],
            ["expected calibration error", f"{found['ece_before']:.4f}", f"{found['ece_after']:.4f}"],
        ],
    )
    return (
        f"Logits are divided by the temperature {config['temperature']:.4g}, {how}.\n\n{table}\n\n"
        "It was fitted on these images, so expect a little less from it on new ones."
    )


def _selection(config: Mapping[str, Any], metrics: Mapping[str, Any], *, is_bundle: bool) -> str:
    origin, found = config["provenance"], metrics["selection"]
    trials = f"{origin['trials']} trials, of which " if origin["trials"] else ""
    text = (
        f"Chosen by `{origin['ranked_by']}` on the validation images from {trials}{origin['candidates']} ended with a "
        f"checkpoint; epoch {origin['epoch']}."
    )
    if not trials:
        text = f"Chosen among {origin['candidates']} checkpoints by `{origin['ranked_by']}` on the validation images."
    if found is not None:
        text += f" {found['text'][0].upper()}{found['text'][1:].rstrip('.')}."
    if found is not None and found["corrected"] is not None:
        text += (
            f" As the best of several it seems better than it is: on images like these expect {found['corrected']:.4f} "
            f"({found['low']:.4f} to {found['high']:.4f}), not {found['raw']:.4f}."
        )
    run = origin["run_id"] or "not sent"
    again = " `study run reproduce.yaml` trains it again." if is_bundle else ""
    return f"{text} MLflow run {run}.{again}"


def _formats(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    table = formats_table(metrics["formats"])
    return ["## Formats", table, _parity(metrics), _without_package(config["architecture"])]


def formats_table(checks: list[Mapping[str, Any]]) -> str:
    """Return the formats with their size, speed and difference as a table in Markdown."""
    heading = [
        "file",
        "precision",
        "MB",
        "batch 1, ms",
        "batch 64, ms",
        "largest logit difference",
        "decisions changed",
    ]
    rows = [
        [
            check["file"], check["precision"], f"{check['bytes'] / 1e6:.1f}",
            _number(check["latency_1_ms"], ".2f"), _number(check["latency_64_ms"], ".1f"),
            _number(check["max_logit_difference"], ".2g"), _number(check["flipped"], ".2%"),
        ]
        for check in checks if check["fault"] is None
    ]  # fmt: skip
    return _table(heading, rows)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _parity(metrics: Mapping[str, Any]) -> str:
    checks, difference = metrics["formats"], metrics["stored_scores_difference"]
    failed = [
        f"{each['file']} in {each['precision']} was left out: {each['fault']}." for each in checks if each["fault"]
    ]
    if difference is None:
        how = (
            f"The pictures were gone: the formats were compared on {checks[0]['images']} made-up images, and the "
            f"stored scores of {metrics['validation']['images']} validation images only with the stored metrics."
        )
    else:
        how = (
            f"Each was loaded in a fresh process and run on all {checks[0]['images']} validation images with one "
            f"thread, in CPU time; the weights give the scores stored in training within {difference:.2g}."
        )
    return " ".join([how, *failed])


def _without_package(model: Mapping[str, Any]) -> str:
    start = "`model.safetensors` is the state dict of"
    if model["family"] == "resnet_v2":
        return f"{start} timm's `resnetv2_{model['depth']}` behind `backbone.`, and `fc`."
    if model["head"] != "linear":
        return f"{start} torchvision's model, with the head under `fc`."
    outputs = model["outputs"]
    shallow = f"\n`ResNet(BasicBlock, [1, 1, 1, 1], num_classes={outputs})`"
    return f"{start} torchvision's model with {outputs} output{'s' * (outputs > 1)} (depth 10 is{shallow})."


def _licence(config: Mapping[str, Any]) -> str:
    if config["licence"]:
        text = f"`{config['licence']}`, as whoever exported the weights chose."
    else:
        text = "None was chosen for the weights: whoever trained them may, in the head of this file."
    text += " The licence of the training pictures may bind them. `predict.py` is under the MIT licence."
    init = str(config["provenance"]["hyperparameters"].get("init", ""))
    if init == "imagenet":
        text += " Training began with weights made from ImageNet, whose terms allow research."
    elif init.startswith(("checkpoint:", "run:")):
        text += " Training began with weights made elsewhere, whose terms count too."
    return text


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)

"""The model card in a bundle, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bundle_card(config: Mapping[str, Any], difference: float | None, images: int) -> str:
    """Return a model card: what the model is, how to use it and how well it does.

    Args:
        config: The bundle's configuration.
        difference: Largest difference of a score after loading again, None where the pictures were not there.
        images: Number of validation images it was measured on.
    """
    origin, model = config["provenance"], config["architecture"]
    return f"""# {origin["study"]}, trial {origin["trial"]}

A {_model(model)} that tells {_classes(config["classes"])} apart.
Chosen among {origin["candidates"]} checkpoints by {origin["ranked_by"]} on the validation images: expect a little less
on new ones, and measure on photographs of your own before you rely on it.
{_masks(config["preprocessing"])}
| metric | value |
|---|---|
{_rows(config["metrics"])}

{_test(config["test"])}

{_usage(config)}

{_without_package(model)} Pictures are turned as EXIF says, laid on white where transparent,
shrunk with Lanczos or grown with bicubic filtering, and made square: {config["preprocessing"]["resize"]}.

| file | holds |
|---|---|
| model.safetensors | float32 weights |
| config.json | architecture, preprocessing, classes, threshold, metrics, provenance |

{_parity(difference, images)}
Data fingerprint {origin["data_fingerprint"][:16]}, MLflow run {origin["run_id"] or "not sent"}.
"""


def _masks(preprocessing: Mapping[str, Any]) -> str:
    """Say that drawn masks prove nothing about real ones; nothing where it is not known that they were drawn."""
    framing = preprocessing.get("framing")
    if not isinstance(framing, Mapping) or framing.get("masks") != "drawn":
        return ""
    return """
**The masks in its training images were drawn by a program.** Its accuracy on real masks is unknown until it is
evaluated on photographs of them; the figures below are of drawn ones.
"""


def _parity(difference: float | None, images: int) -> str:
    if difference is None:
        return f"The pictures were gone: parity was checked on the stored scores of {images} validation images only."
    return f"Loaded again after writing: the scores of {images} validation images differ by at most {difference:.2g}."


def _model(model: Mapping[str, Any]) -> str:
    head = "" if model["head"] == "linear" else f" with a hidden layer of {model['head_width']}"
    names = {"resnet": "ResNet", "wide_resnet": "Wide ResNet", "resnext": "ResNeXt", "resnet_v2": "ResNet V2"}
    return f"{names[model['family']]}-{model['depth']}{head}"


def _classes(classes: list[str]) -> str:
    return " and ".join([", ".join(f"`{name}`" for name in classes[:-1]), f"`{classes[-1]}`"])


def _rows(metrics: Mapping[str, float]) -> str:
    shown = {
        name: value for name, value in metrics.items() if name.startswith(("val_", "shifted.")) and _is_summary(name)
    }
    return "\n".join(f"| {name} | {value:.5g} |" for name, value in shown.items())


def _is_summary(name: str) -> bool:
    return name.startswith("val_") or name.endswith((".auc", ".accuracy"))


def _test(test: Mapping[str, Any]) -> str:
    if not test.get("metrics"):
        return f"Test images: {test['note']}."
    shown = ", ".join(
        f"{name} {test['metrics'][name]:.5g}" for name in ("auc", "accuracy", "f1") if name in test["metrics"]
    )
    return f"Test images: {shown}; {test['note']}."


def _usage(config: Mapping[str, Any]) -> str:
    steps, classes = config["preprocessing"], config["classes"]
    if len(classes) == 2:
        output = (
            f"one logit; its sigmoid is the score of `{config['positive_class']}`; above {config['threshold']} means "
            f"yes, and the logit is divided by the temperature {config['temperature']:.4g} before the sigmoid"
        )
    else:
        output = f"{len(classes)} logits; their softmax are the scores of the classes in order"
    size = steps["image_size_px"]
    return f"""Input: RGB, {steps["resize"]}, to {size} px, divided by 255, minus mean {steps["mean"]},
divided by {steps["std"]}. Output: {output}.

```python
from pathlib import Path

from study.data import decode_image
from study.export import load_bundle

bundle = load_bundle(Path("."))
photo = decode_image(Path("photo.jpg"), {size}, resize="{steps["resize_mode"]}")
print(bundle.scores(photo[None]))
```"""


def _without_package(model: Mapping[str, Any]) -> str:
    start = "Without this package: the state dict is that of"
    if model["family"] == "resnet_v2":
        return f"{start} timm's `resnetv2_{model['depth']}` behind `backbone.`, and `fc`."
    if model["head"] != "linear":
        return f"{start} torchvision's model, with the head under `fc`."
    outputs = model["outputs"]
    shallow = f"\n`ResNet(BasicBlock, [1, 1, 1, 1], num_classes={outputs})`"
    return f"{start} torchvision's model with {outputs} output{'s' * (outputs > 1)} (depth 10 is{shallow})."

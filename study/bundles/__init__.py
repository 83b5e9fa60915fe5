"""Bundles as somebody uses them: files with their sums, the configuration, and the ONNX model; imports no torch."""

from study.bundles.bundle_config import BundleConfig
from study.bundles.bundle_files import BundleFiles
from study.bundles.onnx_classifier import OnnxClassifier

__all__ = ["BundleConfig", "BundleFiles", "OnnxClassifier"]

"""The ONNX model of a bundle: from picture files to calibrated probabilities, without torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from study.bundles.bundle_config import BundleConfig, parse_config
from study.bundles.bundle_files import CONFIG, ONNX_MODEL, BundleFiles
from study.data.decode import decode_image
from study.errors import BundleError
from study.utils.cpus import available_cores

INPUT, LOGITS, PROBABILITY = "images", "logits", "probability"
AGREED = "study.config"
"""The key of a model's metadata that says what its configuration must agree with it on, as JSON."""
MOST_THREADS = 4
"""For one batch, where none are named; with more, one picture was never timed."""


class Session(Protocol):
    """The part of an ``onnxruntime.InferenceSession`` that is used."""

    def run(self, output_names: list[str], input_feed: Mapping[str, Any]) -> list[NDArray[np.float32]]:
        """Return outputs by name."""


class OnnxClassifier:
    """A bundle's classifier; several threads may use one at the same time."""

    def __init__(self, session: Session, config: BundleConfig) -> None:
        self._session = session
        self.config = config

    @classmethod
    def open(cls, folder: Path, threads: int | None = None) -> OnnxClassifier:
        """Check the sums of a bundle and load its ONNX model.

        Args:
            folder: of the bundle.
            threads: for one batch; one where batches are classified at the same time. None means one per available
                core, at most MOST_THREADS, which is fastest for a picture at a time.

        Raises:
            BundleError: a file is missing, damaged or was changed, or model and configuration do not fit.
        """
        files = BundleFiles.open(folder)
        config = parse_config(files.read(CONFIG), str(folder / CONFIG))
        threads = threads or min(available_cores(), MOST_THREADS)
        return cls(open_session(files.read(ONNX_MODEL), config, str(folder / ONNX_MODEL), threads), config)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the outputs; of two the second is the positive one."""
        return self.config.classes

    @property
    def threshold(self) -> float | None:
        """The calibrated probability above which the positive class is meant; None for more than two classes."""
        return self.config.threshold

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What is done to a picture: image_size_px, resize_mode, mean and std among others."""
        return self.config.preprocessing

    def preprocess(self, source: Path | bytes) -> NDArray[np.uint8]:
        """Decode a picture file, or its contents, as for the training: uint8 RGB [S, S, 3].

        Call it inside ``study.data.decode.quiet_pillow`` where Pillow's warnings are not wanted.

        Raises:
            DataError: the picture cannot be read; the message is the reason, without the path.
        """
        return decode_image(source, self.config.image_size_px, self.config.resize)

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of images [N, S, S, 3]: [N] of the positive class of two, else [N, classes].

        Raises:
            BundleError: the images have another shape or type.
        """
        return self.outputs(batch)[0]

    def probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the calibrated probabilities of images [N, S, S, 3]: [N] of the positive class, or [N, classes].

        Raises:
            BundleError: the images have another shape or type.
        """
        return self.outputs(batch)[1]

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the indices of the classes that probabilities mean: [N]."""
        if self.threshold is not None:
            return (probabilities > self.threshold).astype(np.int64)
        likeliest: NDArray[np.int64] = np.argmax(probabilities, axis=1)
        return likeliest

    def outputs(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the logits and the calibrated probabilities of images [N, S, S, 3].

        Raises:
            BundleError: the images have another shape or type.
        """
        size = self.config.image_size_px
        if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
            raise BundleError(f"images must be uint8 [N, {size}, {size}, 3], but are {batch.dtype} {list(batch.shape)}")
        if not len(batch):
            nothing = np.zeros((0,) if len(self.classes) == 2 else (0, len(self.classes)), np.float32)
            return nothing, nothing
        logits, probabilities = self._session.run([LOGITS, PROBABILITY], {INPUT: batch})
        return logits, probabilities


def open_session(contents: bytes, config: BundleConfig, name: str, threads: int = 1) -> Session:
    """Load an ONNX model and check that it belongs to a configuration.

    Args:
        contents: of the file; read by nobody but this process, so that nothing can change after a check.
        config: the bundle's configuration.
        name: of the file, for errors.
        threads: for one batch.

    Raises:
        BundleError: it is damaged, names other files, or does not fit the configuration.
    """
    import onnxruntime

    _require_one_file(contents, name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that wait in a loop make a machine that does more several times slower; small blocks keep one that is late
    # from holding up the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.dynamic_block_base", "4")
    options.log_severity_level = 3  # errors, which are raised anyway
    options.add_session_config_entry("session.load_model_format", "ONNX")  # what was checked, not what it may be too
    try:
        session = onnxruntime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a damaged model raises many kinds
        raise BundleError(f"{name} must be an ONNX model, but cannot be loaded: {error}") from error
    _require_fitting(session, config, name)
    opened: Session = session
    return opened


def _require_one_file(contents: bytes, name: str) -> None:
    """Check that a model keeps all its weights in its own file; onnxruntime would read others from anywhere."""
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = onnx.load_model_from_string(contents)
    except Exception as error:  # protobuf's errors have no public base
        raise BundleError(f"{name} must be an ONNX model, but is damaged: {error}") from error
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and (message.external_data or message.data_location):
            places = ", ".join(entry.value for entry in message.external_data if entry.key == "location")
            raise BundleError(
                f"{name} must hold all of its weights, but takes {message.name!r} from {places or 'elsewhere'}"
            )


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all within."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else [value]:
                yield from _messages(each)


def _require_fitting(session: Any, config: BundleConfig, name: str) -> None:
    """Check names, types and shapes of a model, and the configuration in its metadata."""
    size, several = config.image_size_px, [len(config.classes)] * (len(config.classes) > 2)
    inputs = [(each.name, each.type, list(each.shape[1:])) for each in session.get_inputs()]
    outputs = [(each.name, each.type, list(each.shape[1:])) for each in session.get_outputs()]
    wanted = [(INPUT, "tensor(uint8)", [size, size, 3])]
    given = [(output, "tensor(float)", several) for output in (LOGITS, PROBABILITY)]
    if inputs != wanted or outputs != given:
        raise BundleError(
            f"{name} must map {wanted} to {given} as {CONFIG} says, but maps {inputs} to {outputs}; export it again"
        )
    try:
        agreed = json.loads(session.get_modelmeta().custom_metadata_map.get(AGREED, "null"))
    except ValueError:
        agreed = None
    if not isinstance(agreed, dict):
        raise BundleError(f"{name} must say in its metadata what {CONFIG} says, but does not; export it again")
    for key, value in config.fingerprint.items():
        if agreed.get(key) != value:
            raise BundleError(f"{name} was exported with {key} {agreed.get(key)!r}, but {CONFIG} says {value!r}")

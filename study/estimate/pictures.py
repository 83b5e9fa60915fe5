"""Count a study's images without decoding one."""

from __future__ import annotations

from dataclasses import dataclass

from study.data.bundle import SHIFTED_PREFIX
from study.data.class_names import require_shifted_names
from study.data.faces import SHIFTED_SETS
from study.data.folder import plan_folder, plan_shifted
from study.data.loading import cache_entry
from study.data.rendered import class_of_kind, face_classes, face_counts
from study.errors import DataError
from study.spec import DataSpec

CHANNELS = 3


@dataclass(frozen=True)
class Pictures:
    """How many images a study has; ``cached_bytes`` is what the cache has of them already, decoded."""

    train: int
    val: int
    test: int
    shifted: int
    classes: int
    image_size_px: int
    cached_bytes: int = 0

    @property
    def decoded_bytes(self) -> int:
        """What all of them take in the cache."""
        return self._bytes(self.train + self.val + self.test + self.shifted)

    @property
    def shared_bytes(self) -> int:
        """What trials share in memory, once per node: all but the test images."""
        return self._bytes(self.train + self.val + self.shifted)

    def _bytes(self, images: int) -> int:
        return images * self.image_size_px**2 * CHANNELS


def count_pictures(spec: DataSpec) -> Pictures:
    """Count the images of each split; broken files are found only when they are decoded.

    Raises:
        DataError: the images cannot be found or split.
    """
    sizes, classes = _faces(spec) if spec.source == "faces" else _folder(spec)
    shifted = sum(size for name, size in sizes.items() if name not in ("train", "val", "test"))
    entry = cache_entry(spec)
    cached = sum(file.stat().st_size for file in entry.glob("*.npy")) if entry.is_dir() else 0
    return Pictures(
        sizes["train"], sizes["val"], sizes.get("test", 0), shifted, classes, spec.image_size_px, cached
    )  # fmt: skip


def _faces(spec: DataSpec) -> tuple[dict[str, int], int]:
    classes = face_classes(spec)
    require_shifted_names(spec.shifted, SHIFTED_SETS)
    plan = plan_shifted(spec, class_of_kind(spec), classes)
    more = {} if plan is None else {name: len(files) for name, files in plan.sets.items()}
    drawn = {SHIFTED_PREFIX + name if name in SHIFTED_SETS else name: n for name, n in face_counts(spec).items()}
    return drawn | more, len(classes)


def _folder(spec: DataSpec) -> tuple[dict[str, int], int]:
    if spec.path is None:
        raise DataError("data.source folder needs data.path, the folder with the pictures, but got none")
    plan = plan_folder(spec)
    return {name: len(files) for name, files in plan.sets.items()}, len(plan.classes)

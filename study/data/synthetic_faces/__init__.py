"""Render faces with and without masks as training data; needs NumPy and OpenCV only."""

from study.data.synthetic_faces.batch import FaceSet, render_split, render_splits
from study.data.synthetic_faces.folder_writer import FolderSummary, write_folder
from study.data.synthetic_faces.render import Face, render_face
from study.data.synthetic_faces.vocabulary import CLASSES, ORDINARY_SPLITS, RENDERER_VERSION, SHIFTED_SETS

__all__ = [
    "CLASSES",
    "ORDINARY_SPLITS",
    "RENDERER_VERSION",
    "SHIFTED_SETS",
    "Face",
    "FaceSet",
    "FolderSummary",
    "render_face",
    "render_split",
    "render_splits",
    "write_folder",
]

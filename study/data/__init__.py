"""A study's images: rendered or read, decoded once, as arrays."""

from study.data.dataset import DataBundle, ImageSet, fingerprint
from study.data.decode import decode_image
from study.data.sources import load_data

__all__ = ["DataBundle", "ImageSet", "decode_image", "fingerprint", "load_data"]

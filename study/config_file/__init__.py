"""From a YAML study file to a checked StudySpec, or to all of its faults."""

from study.config_file.load import LoadedSpec, load_spec, load_text

__all__ = ["LoadedSpec", "load_spec", "load_text"]

"""A small language that says which trials are wanted, such as ``optimizer = 'adam' and depth >= 34``; pure."""

from study.where.names import FIELDS, OF_ONE_TRIAL, Known, known_names, value_of
from study.where.parser import parse
from study.where.syntax import Comparison, Value
from study.where.where import Where

__all__ = ["FIELDS", "OF_ONE_TRIAL", "Comparison", "Known", "Value", "Where", "known_names", "parse", "value_of"]

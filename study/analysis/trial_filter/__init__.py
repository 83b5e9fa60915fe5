"""A small language that says which trials are wanted, such as ``optimizer = 'adam' and depth >= 34``; pure."""

from study.analysis.trial_filter.expression import Comparison, Value
from study.analysis.trial_filter.fields import FIELDS, OF_ONE_TRIAL, Known, known_names, value_of
from study.analysis.trial_filter.filter import Where
from study.analysis.trial_filter.parser import parse

__all__ = ["FIELDS", "OF_ONE_TRIAL", "Comparison", "Known", "Value", "Where", "known_names", "parse", "value_of"]

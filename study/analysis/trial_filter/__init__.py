"""The language of ``--where``, such as ``optimizer = 'adam' and depth >= 34``; pure."""

from study.analysis.trial_filter.expression import Comparison, Value
from study.analysis.trial_filter.fields import FIELDS, OF_ONE_TRIAL, KnownNames, known_names, value_of
from study.analysis.trial_filter.filter import TrialFilter

__all__ = ["FIELDS", "OF_ONE_TRIAL", "Comparison", "KnownNames", "TrialFilter", "Value", "known_names", "value_of"]

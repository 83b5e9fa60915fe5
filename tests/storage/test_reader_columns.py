"""The columns of the index give back every record as it was, whatever is in it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from study.records import TrialRecord, TrialState
from study.storage.reader import pack, unpack

TEXTS = st.text(max_size=5) | st.floats(allow_nan=False) | st.integers() | st.booleans() | st.none()
MAPS = st.dictionaries(st.sampled_from("abc"), TEXTS)
RECORDS = st.builds(
    TrialRecord, study=st.just("s"), trial=st.integers(0, 10**6), state=st.sampled_from(TrialState), params=MAPS,
    config=MAPS, metrics=st.dictionaries(st.sampled_from("xyz"), st.floats(allow_nan=False)),
    epoch=st.none() | st.integers(), error=st.none() | st.text(),
)  # fmt: skip


@given(st.lists(RECORDS, unique_by=lambda one: one.trial))
def test_columns_give_back_every_record(records: list[TrialRecord]) -> None:
    stored = json.loads(json.dumps(pack(records)))
    found = unpack(stored, "s", frozenset(), {})
    assert found == records
    for one, other in zip(found, records, strict=True):
        assert [(key, type(value)) for key, value in one.config.items()] == [
            (key, type(value)) for key, value in other.config.items()
        ]

"""Cut a batch into as few requests as MLflow's limits allow; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tracking.telling.content import Batch

_MOST_ITEMS = 1000
_MOST_PARAMS = 100
_MOST_TAGS = 100
# Of a request's JSON, which MLflow refuses from a million on; everything but ASCII is escaped in it.
_MOST_CHARACTERS = 900_000
_AROUND_A_POINT = 110
_AROUND_A_TEXT = 25


def parcels(batch: Batch) -> Iterator[Batch]:
    """Yield batches that together say the same, params and tags first; nothing for an empty one."""
    parcel, room = Batch(), _MOST_CHARACTERS
    for target, most in (("params", _MOST_PARAMS), ("tags", _MOST_TAGS)):
        for key, text in getattr(batch, target).items():
            size = len(json.dumps(key)) + len(json.dumps(text)) + _AROUND_A_TEXT
            if size > room or len(getattr(parcel, target)) == most:
                yield parcel
                parcel, room = Batch(), _MOST_CHARACTERS
            getattr(parcel, target)[key] = text
            room -= size
    for point in batch.points:
        size = len(json.dumps(point.key)) + _AROUND_A_POINT
        if size > room or len(parcel.points) + len(parcel.params) + len(parcel.tags) == _MOST_ITEMS:
            yield parcel
            parcel, room = Batch(), _MOST_CHARACTERS
        parcel.points.append(point)
        room -= size
    if room < _MOST_CHARACTERS:
        yield parcel


def apart(batch: Batch) -> Iterator[Batch]:
    """Yield the params, the tags and the points of a batch apart, and each of several params or tags; else nothing."""
    kinds = [Batch(points=batch.points), Batch(params=batch.params), Batch(tags=batch.tags)]
    there = [one for one in kinds if one != Batch()]
    if len(there) > 1:
        yield from there
    elif len(batch.params) > 1:
        yield from (Batch(params={key: text}) for key, text in batch.params.items())
    elif len(batch.tags) > 1:
        yield from (Batch(tags={key: text}) for key, text in batch.tags.items())

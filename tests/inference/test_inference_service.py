"""The service takes batches, refuses what it cannot take, drops what is late, and ends in good order."""

from __future__ import annotations

import time
from concurrent.futures import Future

import pytest
from inference_kit import Brightness, picture, png_of_size

from study.errors import DataError
from study.inference.classifier import Prediction
from study.inference.service import InferenceService, QueueFullError


def soon() -> float:
    return time.monotonic() + 60


def wait_until(condition: object) -> None:
    assert callable(condition)
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


def test_pictures_that_wait_are_classified_at_once() -> None:
    classifier = Brightness()
    classifier.may_classify.clear()
    with InferenceService(classifier, batch=4) as service:
        first = service.submit(picture(0), soon())
        wait_until(lambda: classifier.batches == [1])
        rest = [service.submit(picture(level), soon()) for level in range(20, 240, 20)]
        wait_until(lambda: service._decoded.qsize() == len(rest))
        classifier.may_classify.set()
        answers = [each.result(60) for each in (first, *rest)]
    assert classifier.batches == [1, 4, 4, 3]
    assert [round(each.probability * 255) for each in answers] == [0, *range(20, 240, 20)]
    assert service.pending == 0


def test_only_as_many_wait_as_may() -> None:
    classifier = Brightness()
    classifier.may_classify.clear()
    with InferenceService(classifier, limit=3) as service:
        accepted = [service.submit(picture(9), soon()) for _ in range(3)]
        assert service.is_full
        with pytest.raises(QueueFullError):
            service.submit(picture(9), soon())
        classifier.may_classify.set()
        assert [each.result(60).label for each in accepted] == [0, 0, 0]
        wait_until(lambda: not service.is_full)
        assert service.submit(picture(99), soon()).result(60).label == 1


def test_no_more_are_decoded_at_once_than_there_are_decoders() -> None:
    classifier = Brightness(decode_s=0.02)
    with InferenceService(classifier, decoders=2) as service:
        for each in [service.submit(picture(9), soon()) for _ in range(20)]:
            each.result(60)
    assert classifier.decoding == [0, 2]


def test_what_is_late_or_given_up_is_not_worked_on() -> None:
    classifier = Brightness()
    classifier.may_decode.clear()
    with InferenceService(classifier, decoders=1) as service:
        busy = service.submit(picture(9), soon())
        late = service.submit(picture(9), time.monotonic() - 0.01)
        given_up: Future[Prediction] = service.submit(picture(9), soon())
        assert given_up.cancel()
        classifier.may_decode.set()
        with pytest.raises(TimeoutError):
            late.result(60)
        assert busy.result(60).label == 0
        wait_until(lambda: service.pending == 0)
    assert sum(classifier.batches) == 1


def test_what_becomes_late_behind_a_batch_is_not_classified() -> None:
    classifier = Brightness()
    classifier.may_classify.clear()
    with InferenceService(classifier) as service:
        service.submit(picture(9), soon())
        wait_until(lambda: classifier.batches == [1])
        late = service.submit(picture(9), time.monotonic() + 0.05)
        time.sleep(0.1)
        classifier.may_classify.set()
        with pytest.raises(TimeoutError):
            late.result(60)
    assert classifier.batches == [1]


@pytest.mark.parametrize(
    ("contents", "law"),
    [
        (b"<svg/>", "formats"), (b"", "formats"), (b"\x80\x04\x95.", "formats"),
        (png_of_size(50_000, 50_000), "bomb"), (png_of_size(8_000, 7_000), "at most 50,000,000 pixels"),
        (picture(9, "JPEG", (64, 64))[:-200], "damaged"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_and_the_next_one_answered(contents: bytes, law: str) -> None:
    with InferenceService(Brightness()) as service:
        with pytest.raises(DataError, match=law):
            service.submit(contents, soon()).result(60)
        assert service.submit(picture(9), soon()).result(60).label == 0


def test_large_pictures_are_decoded_one_at_a_time() -> None:
    classifier = Brightness(decode_s=0.05)
    large = picture(90, "PNG", (4100, 4000))
    with InferenceService(classifier, decoders=3) as service:
        for each in [service.submit(large, soon()) for _ in range(4)]:
            assert each.result(60).label == 1
    assert classifier.decoding[1] == 1


def test_a_fault_of_the_classifier_fails_its_batch_alone() -> None:
    classifier = Brightness(fails=True)
    with InferenceService(classifier) as service:
        with pytest.raises(RuntimeError):
            service.submit(picture(9), soon()).result(60)
        classifier.fails = False
        assert service.submit(picture(9), soon()).result(60).label == 0


def test_what_was_accepted_is_answered_at_the_end_and_nothing_more_accepted() -> None:
    classifier = Brightness(decode_s=0.02)
    with InferenceService(classifier) as service:
        accepted = [service.submit(picture(200), soon()) for _ in range(10)]
    assert [each.result(0).label for each in accepted] == [1] * 10
    with pytest.raises(QueueFullError):
        service.submit(picture(9), soon())

"""Metrics and intervals are those of the textbook; the page shows them and can do no harm."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from study.inference.evaluation import Scored, compare, effective_pictures, estimates, reorder, verdict
from study.inference.evaluation_page import Evaluation, Rival, evaluation_page
from study.training.metrics import evaluate

TWO, THREE = ("off", "on"), ("top", "middle", "bottom")
RNG = np.random.default_rng(7)


def scored(classes: tuple[str, ...], count: int = 60, threshold: float = 0.3, seed: int = 1) -> Scored:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(classes)
    raw = rng.dirichlet(np.ones(len(classes)), count)
    raw[np.arange(count), labels] += 0.4
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    if len(classes) == 2:
        return Scored(probabilities, (probabilities[:, 1] > threshold).astype(np.int64), labels, classes)
    return Scored(probabilities, probabilities.argmax(axis=1), labels, classes)


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_values_are_those_of_scikit_learn(classes: tuple[str, ...]) -> None:
    of = scored(classes)
    estimated = {each.name: each for each in estimates(of)}
    assert estimated["accuracy"].value == pytest.approx(np.mean(of.predicted == of.labels))
    assert estimated["macro_recall"].value == pytest.approx(recall_score(of.labels, of.predicted, average="macro"))
    assert estimated["macro_f1"].value == pytest.approx(f1_score(of.labels, of.predicted, average="macro"))
    recalls = recall_score(of.labels, of.predicted, average=None)
    assert [estimated[f"recall.{name}"].value for name in classes] == pytest.approx(list(recalls))
    scores = of.probabilities[:, 1] if len(classes) == 2 else of.probabilities
    auc = roc_auc_score(of.labels, scores, multi_class="ovr")
    assert estimated["auc"].value == pytest.approx(auc)
    own = of.probabilities[np.arange(60), of.labels]
    assert estimated["loss"].value == pytest.approx(-np.log(own).mean())
    logits = np.log(of.probabilities)
    assert estimated["ece"].value == pytest.approx(evaluate(logits, of.labels, classes)["ece"])
    for each in estimated.values():
        if each.name != "ece":
            assert each.low <= each.value <= each.high
            assert each.low < each.high
    assert math.isnan(estimated["ece"].low)


@pytest.mark.parametrize(("right", "count"), [(17, 21), (20, 21), (21, 21), (0, 5), (7, 10)])
def test_intervals_of_fractions_are_exact(right: int, count: int) -> None:
    labels = np.ones(count, np.int64)
    predicted = (np.arange(count) < right).astype(np.int64)
    probabilities = np.stack([1 - predicted * 0.8 - 0.1, predicted * 0.8 + 0.1], axis=1)
    (accuracy, *_) = estimates(Scored(probabilities, predicted, labels, TWO))
    exact = stats.binomtest(right, count).proportion_ci(method="exact")
    assert (accuracy.low, accuracy.high) == pytest.approx((exact.low, exact.high))
    assert (accuracy.hits, accuracy.images) == (right, count)


def repeated(of: Scored, times: int) -> Scored:
    """Return every picture several times, as one group."""
    again = [np.repeat(each, times, axis=0) for each in (of.probabilities, of.predicted, of.labels)]
    return Scored(*again, of.classes, np.repeat(np.arange(len(of.labels)), times))


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_the_same_pictures_again_tell_nothing_more(classes: tuple[str, ...]) -> None:
    of = scored(classes)
    once, thrice, believed = (
        {each.name: each for each in estimates(every)}
        for every in (of, repeated(of, 3), replace(repeated(of, 3), groups=None))
    )
    for name, each in once.items():
        assert thrice[name].value == pytest.approx(each.value)
        if name != "ece":
            assert thrice[name].high - thrice[name].low == pytest.approx(each.high - each.low, rel=0.12), name
            assert believed[name].high - believed[name].low < 0.8 * (each.high - each.low), name


def test_groups_of_one_are_no_groups_and_one_group_of_all_knows_nothing() -> None:
    of = scored(TWO)
    assert estimates(replace(of, groups=np.arange(60)[::-1])) == pytest.approx(estimates(of), nan_ok=True)
    for each in estimates(replace(of, groups=np.zeros(60, np.int64)))[:-1]:
        assert (each.low, each.high) == (0, math.inf if each.name == "loss" else 1)


@pytest.mark.parametrize("right", [True, False])
def test_what_is_always_right_is_as_sure_as_its_groups(right: bool) -> None:
    groups = np.repeat(np.arange(15), 4)
    assert effective_pictures(np.full(60, right), groups) == 15
    assert effective_pictures(np.arange(60) % 4 == 0, groups) == 60  # every group alike: as good as independent ones


def test_two_bundles_are_compared_group_by_group() -> None:
    pair = scored(TWO, seed=1), scored(TWO, threshold=0.7, seed=2)
    once = {each.name: each.difference for each in compare(*pair)}
    thrice = {each.name: each.difference for each in compare(*(repeated(each, 3) for each in pair))}
    for name, each in once.items():
        assert thrice[name].value == pytest.approx(each.value)
        assert thrice[name].high - thrice[name].low == pytest.approx(each.high - each.low, rel=0.12)
    identical = repeated(pair[0], 2)
    assert all(not row.difference.is_certain for row in compare(identical, identical))


def test_what_needs_every_class_is_left_out_without_one() -> None:
    of = scored(THREE)
    kept = of.labels != 1
    part = Scored(of.probabilities[kept], of.predicted[kept], of.labels[kept], THREE)
    assert part.missing == ("middle",)
    assert [each.name for each in estimates(part)] == ["accuracy", "recall.top", "recall.bottom", "loss", "ece"]
    alone = Scored(of.probabilities[:1], of.predicted[:1], of.labels[:1], THREE)
    assert [each.name for each in estimates(alone)] == ["accuracy", "recall.top", "loss", "ece"]


def mid_p(first: int, second: int) -> float:
    fewer, n = min(first, second), first + second
    if first == second:
        return 1.0
    return float(2 * (stats.binom.cdf(fewer, n, 0.5) - stats.binom.pmf(fewer, n, 0.5) / 2))


def test_two_bundles_are_compared_picture_by_picture() -> None:
    first, second = scored(TWO, seed=1), scored(TWO, threshold=0.7, seed=2)
    rows = {each.name: each for each in compare(first, second)}
    assert list(rows) == ["accuracy", "recall.off", "recall.on", "auc"]
    row = rows["accuracy"]
    alone = int((first.right & ~second.right).sum()), int((second.right & ~first.right).sum())
    assert (row.only_first, row.only_second) == alone
    assert row.difference.value == pytest.approx(row.first - row.second)
    assert row.difference.value == pytest.approx((alone[0] - alone[1]) / 60)
    assert row.difference.p == pytest.approx(mid_p(*alone))
    assert row.difference.low <= row.difference.value <= row.difference.high
    assert rows["auc"].first == pytest.approx(roc_auc_score(first.labels, first.probabilities[:, 1]))


def test_three_more_of_21_photos_prove_nothing() -> None:
    labels, before = np.ones(21, np.int64), (np.arange(21) < 17).astype(np.int64)
    after = (np.arange(21) < 20).astype(np.int64)
    both = [Scored(np.stack([1 - each, each], axis=1).astype(float), each, labels, TWO) for each in (after, before)]
    (accuracy,) = compare(*both)
    assert (round(accuracy.second, 3), round(accuracy.first, 3)) == (0.81, 0.952)
    assert (accuracy.only_first, accuracy.only_second) == (3, 0)
    assert accuracy.difference.p == pytest.approx(0.125)
    assert accuracy.difference.low < 0
    words = "3 pictures are right by after alone, 0 by before alone (p 0.125)"
    assert verdict([accuracy], "after", "before") == f"undecided: {words}"


@pytest.mark.parametrize("first_is_better", [True, False])
def test_enough_pictures_decide(first_is_better: bool) -> None:
    labels = np.ones(21, np.int64)
    worse, better = np.zeros(21, np.int64), (np.arange(21) < 9).astype(np.int64)
    pair = (better, worse) if first_is_better else (worse, better)
    first, second = [Scored(np.stack([1 - each, each], axis=1).astype(float), each, labels, TWO) for each in pair]
    assert verdict(compare(first, second), "a", "b").startswith("a, certainly" if first_is_better else "b, certainly")


def test_columns_are_put_in_the_order_of_the_other_bundle() -> None:
    reordered = reorder(np.array([[0.1, 0.2, 0.7]]), ("a", "b", "c"), ("c", "a", "b"))
    assert reordered.tolist() == [[0.7, 0.1, 0.2]]


@pytest.mark.parametrize("classes", [TWO, ("<b>x</b>", "a&b", "\x1b[31m")])
def test_the_page_shows_what_was_measured_and_nothing_in_it_is_markup(classes: tuple[str, ...]) -> None:
    of, rival = scored(classes), scored(classes, seed=5)
    names = [f"<script>alert({at})</script>/{at}.png" for at in range(60)]
    evaluation = Evaluation(
        "<i>bundle</i>", "photos", of, names, 0.3 if len(classes) == 2 else None, estimates(of),
        ("<u>note</u>",), {"<s>improper": np.array([0, 1, 1])},
        Rival("<i>other</i>", rival, compare(of, rival), estimates(rival)),
    )  # fmt: skip
    shown: list[int] = []

    def load(at: int) -> np.ndarray:
        shown.append(at)
        return RNG.integers(0, 256, (8, 8, 3), np.uint8)

    page = evaluation_page(evaluation, load)
    for markup in ("<script>alert", "<i>", "<u>", "<s>", "<b>x", "\x1b"):
        assert markup not in page.partition('<script type="application/json"')[0]
    right = int(of.right.sum())
    assert f"{right} of 60 pictures right: {right / 60:.1%}" in page
    assert f"{right} of 60 right" in page  # the confusion matrix
    assert len(re.findall("<img ", page)) == len(shown)
    differ, wrong = set(np.flatnonzero(of.predicted != rival.predicted)), set(np.flatnonzero(~of.right))
    assert set(shown) <= differ | wrong
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_page_without_a_wrong_picture_says_so() -> None:
    labels = np.array([0, 1])
    of = Scored(np.eye(2), labels, labels, TWO)
    page = evaluation_page(
        Evaluation("b", "f", of, ["a", "b"], 0.5, estimates(of), (), {}), lambda at: np.zeros((8, 8, 3), np.uint8)
    )
    assert "No picture is called wrong" in page
    assert "<img" not in page.partition("<script")[0]

"""The claims of reports that this program was built to doubt, as ``reported_claims.py`` answers them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reported_claims", _ROOT / "tests/benchmarks/reported_claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reported_claims"] = module
    spec.loader.exec_module(module)
    return module


def test_every_claim_of_two_figures_is_undecided_whatever_the_pairing(claims: ModuleType) -> None:
    answers = claims.answers()
    assert [len(each.verdicts) for each in answers] == [3, 2, 1, 3]
    for each in answers:
        assert set(each.verdicts) == {"undecided"}, each.claim
        assert max(each.lows) < 0 < min(each.highs), each.claim


def test_two_images_more_of_3245_have_an_exact_p_of_50_to_69_percent(claims: ModuleType) -> None:
    answer = claims.answers()[0]
    assert (min(answer.exact_p), max(answer.exact_p)) == pytest.approx((0.50, 0.6875))
    assert (min(answer.needed), max(answer.needed)) == pytest.approx((12_700, 38_200), rel=0.01)


def test_the_exact_p_of_the_photos_and_the_auc(claims: ModuleType) -> None:
    _, photos, six, auc = claims.answers()
    assert photos.exact_p == pytest.approx((0.25, 0.375))
    assert six.exact_p == pytest.approx((0.5,))
    assert min(auc.exact_p) > 0.1


def test_seven_of_ten_photos_are_35_to_93_percent(claims: ModuleType) -> None:
    assert claims.single(10, 7) == pytest.approx((0.348, 0.933), abs=6e-4)


def test_the_recorded_table_is_the_present_answer(claims: ModuleType) -> None:
    recorded = (_ROOT / "results/reference/reported_claims.md").read_text("utf-8")
    assert claims.table(claims.answers()) == recorded

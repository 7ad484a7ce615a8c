import numpy as np
import pytest
from scipy.stats import binomtest

from graphloss.evaluation.significance import bootstrap_gain, bootstrap_interval, hierarchical_p_value, paired_p_value


def test_the_interval_of_one_seed_is_that_of_the_binomial() -> None:
    right = (np.arange(400) < 320)[None]
    low, high = bootstrap_interval(right)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_seeds_that_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    alike = np.tile(generator.random(2_000) < 0.8, (3, 1))
    apart = np.stack([generator.random(2_000) < share for share in (0.7, 0.8, 0.9)])
    widths = [np.subtract(*bootstrap_interval(each)[::-1]) for each in (alike, apart)]
    assert widths[1] > 2.5 * widths[0]
    low, high = bootstrap_interval(apart)
    assert low < 0.75
    assert high > 0.85


def test_a_gain_is_paired_by_seed_and_document() -> None:
    generator = np.random.default_rng(0)
    differences = np.zeros((3, 1_000))
    differences[:, :50], differences[:, 50:70] = 1.0, -1.0  # the same documents in each seed
    mean, low, high = bootstrap_gain({"a": differences})
    half = 1.96 * np.sqrt((0.07 - 0.03**2) / 1_000)
    assert mean == pytest.approx(0.03)
    assert (low, high) == pytest.approx((0.03 - half, 0.03 + half), abs=0.002)
    shifted = differences + np.array([[-0.1], [0.0], [0.1]])  # seeds that differ
    assert np.subtract(*bootstrap_gain({"a": shifted})[:0:-1]) > 3.0 * (high - low)
    over_both = bootstrap_gain({"a": differences, "b": generator.permutation(differences, axis=1) - 0.03})
    assert over_both.mean == pytest.approx(0.015)
    assert over_both.high - over_both.low == pytest.approx((high - low) / np.sqrt(2.0), rel=0.1)


@pytest.mark.parametrize(("gained", "lost"), [(5, 1), (9, 0), (60, 35), (500, 500), (0, 0)])
def test_with_one_seed_it_is_the_test_of_mcnemar(gained: int, lost: int) -> None:
    right, other = np.zeros((2, 1, 1_200), dtype=bool)
    right[0, :gained] = True
    other[0, gained : gained + lost] = True
    right[0, 1_100:] = other[0, 1_100:] = True
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert paired_p_value(right, other) == pytest.approx(expected, abs=0.02)
    assert paired_p_value(other, right) == pytest.approx(expected, abs=0.02)


def test_over_data_sets_by_hand() -> None:
    gains = {"a": np.array([0.01, 0.02]), "b": np.array([0.03, 0.01])}
    assert hierarchical_p_value(gains) == 2 / 16
    assert hierarchical_p_value({"a": np.array([0.01]), "b": np.array([-0.01])}) == 1.0
    many = {name: np.full(5, 0.01) for name in "abcd"}
    assert hierarchical_p_value(many) < 0.005

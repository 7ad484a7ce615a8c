import numpy as np
import pytest

from graphloss.evaluation.calibration import brier_score, class_shift, expected_calibration_error, fit_temperature
from graphloss.evaluation.metrics import softmax


def test_the_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 1])
    bins = [abs((0.9 + 0.92) - 1.0), abs(0.6 - 1.0), abs(0.55 - 0.0)]  # of 13, 9 and 8 fifteenths
    assert expected_calibration_error(probabilities, labels) == pytest.approx(sum(bins) / 4)
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert expected_calibration_error(certain, np.array([0, 1])) == 0.0


def test_the_brier_score_by_hand() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.3, 0.2]])
    assert brier_score(probabilities, np.array([0, 0, 1])) == pytest.approx((0.0 + 2.0 + 0.25 + 0.49 + 0.04) / 3)


@pytest.mark.parametrize("true", [0.2, 1.0, 5.0])
def test_the_temperature_that_logits_were_multiplied_by_is_found(true: float) -> None:
    generator = np.random.default_rng(0)
    logits = 2.0 * generator.normal(size=(20_000, 4))
    labels = np.array([generator.choice(4, p=row) for row in softmax(logits)])
    assert fit_temperature(true * logits, labels) == pytest.approx(true, rel=0.05)
    before = expected_calibration_error(softmax(true * logits), labels)
    after = expected_calibration_error(softmax(logits), labels)
    assert after < 0.02
    assert true == 1.0 or before > after + 0.05


def test_few_documents_say_little_and_unlabelled_ones_nothing() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 3.0]])
    few = fit_temperature(logits, np.array([0, 1]))
    assert fit_temperature(logits, np.array([-100, -100])) == 1.0
    many = fit_temperature(np.tile(logits, (500, 1)), np.tile([0, 1], 500))
    assert many + 0.1 < few <= 1.0
    with_unlabelled = np.concatenate([logits, logits[::-1]]), np.array([0, 1, -100, -100])
    assert fit_temperature(*with_unlabelled) == pytest.approx(few)


def test_the_temperature_below_a_shift_is_found() -> None:
    generator = np.random.default_rng(0)
    logits, shift = 2.0 * generator.normal(size=(20_000, 3)), np.log([0.1, 0.3, 2.0])
    labels = np.array([generator.choice(3, p=row) for row in softmax(logits + shift)])
    assert fit_temperature(3.0 * logits, labels, shift) == pytest.approx(3.0, rel=0.05)


def test_the_shift_to_other_class_shares() -> None:
    trained, counts = np.repeat(np.arange(3), 16), np.array([900, 90, 10])
    held_out = np.repeat(np.arange(3), counts)
    shift = class_shift(trained, held_out, 4)
    np.testing.assert_allclose(shift[:3], np.log(3 * counts / 1000), atol=0.2)
    assert shift[3] == 0.0  # a class without a training document
    few = class_shift(trained, held_out[::50], 4)
    assert 0.0 < few[0] < shift[0]
    assert few[2] > np.log(3 / (len(held_out) / 50 + 3)) - 1e-6  # one document a class at least
    unlabelled = [np.concatenate([labels, [-100] * 50]) for labels in (trained, held_out)]
    np.testing.assert_array_equal(class_shift(*unlabelled, 4), shift)


def test_class_shares_that_chance_explains_are_no_others() -> None:
    generator, shares = np.random.default_rng(0), np.array([0.5, 0.3, 0.15, 0.05])
    for size in (0, 3, 30, 300):
        trained, held_out = (generator.choice(4, p=shares, size=each) for each in (3_000, size))
        assert not class_shift(trained, held_out, 4).any()
    assert not class_shift(trained, np.full(9, -100), 4).any()

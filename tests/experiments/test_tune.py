"""What a search says of its settings."""

import optuna

from graphloss.experiments.tune import importances

SCORES = {  # of a search on MR, two epochs each: the learning rate decides
    (2e-5, 0.22, 0.15): 0.8045,
    (2e-5, 0.79, 0.63): 0.8059,
    (1e-5, 0.59, 0.42): 0.7749,
    (1e-5, 0.48, 0.14): 0.7749,
    (2e-5, 0.74, 0.62): 0.8031,
    (2e-5, 0.36, 0.79): 0.8017,
}


def study_of(scores: dict[tuple[float, float, float], float]) -> optuna.Study:
    choices = {
        "learning_rate": optuna.distributions.CategoricalDistribution([1e-5, 2e-5]),
        "labelled_fraction": optuna.distributions.FloatDistribution(0.1, 0.9),
        "graph_weight": optuna.distributions.FloatDistribution(0.1, 0.9),
    }
    study = optuna.create_study(direction="maximize")
    for values, score in scores.items():
        params = dict(zip(choices, values, strict=True))
        study.add_trial(optuna.trial.create_trial(params=params, distributions=choices, value=score))
    return study


def test_the_setting_that_decides_is_the_important_one() -> None:
    found = importances(optuna, study_of(SCORES), seed=0)
    assert found.keys() == {"learning_rate", "labelled_fraction", "graph_weight"}
    assert max(found, key=lambda name: found[name]) == "learning_rate"


def test_where_all_scores_are_alike_nothing_is_important() -> None:
    assert importances(optuna, study_of(dict.fromkeys(SCORES, 0.5)), seed=0) == {}

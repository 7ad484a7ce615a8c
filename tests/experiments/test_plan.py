"""From YAML to runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from graphloss.errors import InputError
from graphloss.experiments.bench import Bench
from graphloss.experiments.cost import at_most
from graphloss.experiments.plan import Planned, read_plan
from graphloss.experiments.space import Range


def plan(tmp_path: Path, text: str) -> Path:
    (tmp_path / "plan.yaml").write_text(text)
    return tmp_path / "plan.yaml"


def test_lists_are_dimensions_and_runs_come_once(tmp_path: Path) -> None:
    runs = read_plan(
        plan(
            tmp_path,
            "grids:\n"
            "  - {data: [mr, r8], loss: [ce, gloss], seed: [1, 2], num_train_epochs: 1}\n"
            "  - {data: mr, loss: ce, seed: 1, num_train_epochs: 1}\n"
            "  - {data: mr, system: tfidf-svm, seed: 1}\n",
        )
    )
    assert len(runs) == 9
    assert runs[0].settings == {"data": "mr", "loss": "ce", "seed": 1, "num_train_epochs": 1}
    assert runs[0].name.startswith("mr-ce-1-")
    assert runs[-1].name.startswith("mr-tfidf-svm-1-")
    assert len({run.name for run in runs}) == 9
    assert runs[0].config(tmp_path / "out").training.num_train_epochs == 1


def test_names_tell_every_setting_apart() -> None:
    one, other = ({"data": "mr", "seed": 1, "learning_rate": rate} for rate in (1e-4, 2e-4))
    assert Planned(one).name != Planned(other).name
    assert Planned(one).name == Planned(dict(reversed(one.items()))).name
    assert Planned(one).name != Planned(one, "knn").name


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        "grids:\n"
        "  - {data: mr, loss: [ce, nonsense], seed: 1, lerning_rate: 1}\n"
        "  - {data: mr, system: textgcn, encoder: minilm}\n"
        "  - {system: [knn, guess], loss: ce, seed: 1}\n"
        "  - {data: mr, loss: ce, setup: standalone, seed: 1}\n"
    )
    with pytest.raises(InputError) as caught:
        read_plan(plan(tmp_path, text))
    told = str(caught.value)
    for mistake in (
        "grid 1: settings: unknown 'lerning_rate'",
        "grid 1: loss must be one of",
        "grid 2: no seed",
        "grid 2: textgcn does not go with encoder",
        "grid 3: no data",
        "grid 3: system must be one of",
        "grid 3: knn does not go with loss",
        "grid 4: --setup standalone needs a loss on embeddings",
    ):
        assert mistake in told, mistake


@pytest.mark.parametrize("text", ["", "grids: 3", "grids: []", "- a", "grids: [a]", "grids: [{"])
def test_what_is_no_plan(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_plan(plan(tmp_path, text))


def test_costs_grow_with_what_is_done() -> None:
    usual = {"data": "mr", "encoder": "minilm", "seed": 1}
    once, twice = (at_most(Planned(usual | {"num_train_epochs": epochs}), 1e12) for epochs in (1, 2))
    large = at_most(Planned(usual | {"encoder": "roberta-large", "num_train_epochs": 1}), 1e12)
    frozen = at_most(Planned(usual | {"setup": "frozen"}), 1e12)
    few = at_most(Planned(usual | {"num_train_epochs": 1, "max_documents": 200}), 1e12)
    assert few < frozen < once < twice < large
    assert at_most(Planned({"data": "mr", "seed": 1}, "tfidf-svm"), 1e12) is None
    assert at_most(Planned(usual | {"data": "elsewhere"}), 1e12) is None


def test_costs_follow_the_texts_where_they_are_here(data: Path) -> None:
    full = {"data": str(data), "encoder": "minilm", "seed": 1}
    seconds = [at_most(Planned(full | {"max_length": length}), 1e12) for length in (8, 16, 64)]
    assert seconds[0] < seconds[1] < 4 * seconds[0]
    assert seconds[1] < seconds[2] < 4 * seconds[1]  # few of them are as long
    few = [at_most(Planned(full | {"labels_per_class": most}), 1e12) for most in (1, 2, 100)]
    assert few[0] < few[1] < few[2] == at_most(Planned(full), 1e12)
    assert few[1] < at_most(Planned(full | {"labels_per_class": 2, "rest_unlabelled": True}), 1e12) < few[2]


def test_costs_count_steps_evaluations_and_trials(data: Path) -> None:
    full = {"data": str(data), "encoder": "minilm", "seed": 1, "per_device_train_batch_size": 10, "num_train_epochs": 1}
    usual = at_most(Planned(full), 1e12)  # 60 documents are 6 steps and one evaluation
    assert at_most(Planned(full | {"max_steps": 6}), 1e12) == pytest.approx(usual)
    assert at_most(Planned(full | {"max_steps": 3, "eval_strategy": "no"}), 1e12) < usual
    assert at_most(Planned(full | {"eval_strategy": "steps", "eval_steps": 6}), 1e12) == pytest.approx(usual)
    often = at_most(Planned(full | {"eval_strategy": "steps", "eval_steps": 2}), 1e12)
    assert often == pytest.approx(at_most(Planned(full | {"eval_strategy": "steps", "eval_steps": 1 / 3}), 1e12))
    assert often > usual
    assert at_most(Planned(full), 1e12, is_trial=True) < usual


def test_runs_that_differ_by_their_seed_have_a_search_in_common(tmp_path: Path) -> None:
    text = (
        "usual: &usual {data: mr, encoder: minilm, seed: [1, 2], trials: 4}\n"
        "grids:\n"
        "  - {<<: *usual, loss: gloss, bandwidth: sqrt, method: G-Loss-SQRT, table: integrated}\n"
        "  - {<<: *usual, loss: gloss}\n"
        "  - {<<: *usual, loss: ce, search: {learning_rate: '1e-5:1e-3:log', head: 'stock,linear'}}\n"
    )
    runs = read_plan(plan(tmp_path, text))
    assert len({run.name for run in runs}) == 6
    assert len({run.study for run in runs}) == 3
    sqrt, optimal, plain = runs[::2]
    assert (sqrt.method, sqrt.table, sqrt.trials) == ("G-Loss-SQRT", "integrated", 4)
    assert set(sqrt.space()) == {"learning_rate", "labelled_fraction", "graph_weight"}
    assert set(optimal.space()) == {*sqrt.space(), "bandwidth"}
    assert plain.space() == {"learning_rate": Range(1e-5, 1e-3, log=True), "head": ("stock", "linear")}
    assert not any(run.searched["index"] or run.searched["record"] for run in runs)  # nobody looks at a trial again
    bench = Bench(tmp_path, runs)
    assert [bench.trials(run) for run in runs] == [4, 0, 4, 0, 4, 0]


def test_a_search_on_one_data_set_serves_others(tmp_path: Path) -> None:
    text = (
        "usual: &usual {encoder: minilm, loss: ce, seed: [1, 2], trials: 4,\n"
        "  search_with: {data: r8, max_documents: 90}}\n"
        "grids:\n"
        "  - {<<: *usual, data: [r52, ohsumed]}\n"
        "  - {<<: *usual, data: r52, search_with: {data: mr}}\n"
        "  - {<<: *usual, data: r52, head_end: fitted,\n"
        "     search_with: {data: r8, max_documents: 90, head_end: null}}\n"
    )
    runs = read_plan(plan(tmp_path, text))
    assert len({run.name for run in runs}) == 8
    assert [run.study for run in runs[:4]] == [runs[0].study] * 4 != [runs[4].study] * 4
    assert (runs[0].searched["data"], runs[0].searched["max_documents"]) == ("r8", 90)
    assert "max_documents" not in runs[0].settings
    assert "learning_rate" in runs[0].space()
    assert "learning_rate" not in replace(runs[0], search_with={"learning_rate": 1e-4}).space()
    assert [Bench(tmp_path, runs).trials(run) for run in runs] == [4, 0, 0, 0, 4, 0, 0, 0]
    assert (runs[6].study, runs[6].settings["head_end"]) == (runs[0].study, "fitted")  # searched without it


def test_mistakes_of_a_search_are_told(tmp_path: Path) -> None:
    usual = "data: mr, seed: 1, trials: 4"
    text = (
        "grids:\n"
        f"  - {{{usual}, search: {{lerning_rate: '1:2'}}}}\n"
        f"  - {{{usual}, system: tfidf-svm}}\n"
        f"  - {{{usual}, setup: frozen}}\n"
        f"  - {{{usual}, search: 3}}\n"
        "  - {data: mr, seed: 1, trials: many}\n"
        "  - {data: mr, seed: 1, search: {learning_rate: '1e-5,1e-4'}}\n"
        "  - {data: mr, seed: 1, search_with: {data: r8}}\n"
        f"  - {{{usual}, search_with: r8}}\n"
        f"  - {{{usual}, search_with: {{head_ned: null}}}}\n"
        "  - {data: runs/other/mr, seed: 1}\n"
    )
    with pytest.raises(InputError) as caught:
        read_plan(plan(tmp_path, text))
    for mistake in (
        "grid 1: settings: unknown 'lerning_rate'",
        "grid 2: tfidf-svm has nothing to search",
        "grid 3: frozen has nothing to search",
        "grid 4: --search '3' must read NAME=LOW:HIGH",
        "grid 5: trials must be a number of them, got 'many'",
        "grid 6: search needs trials",
        "grid 7: search_with needs trials",
        "grid 8: search_with must name settings",
        "grid 9: search_with leaves out head_ned, which the run does not set",
        "mr and runs/other/mr have one name, mr,",
    ):
        assert mistake in str(caught.value), mistake

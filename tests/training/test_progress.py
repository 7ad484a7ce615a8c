"""What a person sees while a run trains."""

import io

from rich.console import Console
from transformers import TrainerControl, TrainerState

from graphloss import TrainingConfig
from graphloss.training.progress import LINES, Report

CONTROL = TrainerControl()
CONFIG = TrainingConfig(output_dir="unused", use_cpu=True)


def told(*, terminal: bool, evaluations: int, before: list[dict] | None = None) -> str:
    """What is printed of a run whose second evaluation is its best."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    report, state = Report(console), TrainerState(max_steps=10 * evaluations, log_history=before or [])
    report.on_train_begin(CONFIG, state, CONTROL)
    for number in range(1, evaluations + 1):
        state.global_step, state.epoch = 10 * number, float(number)
        report.on_step_end(CONFIG, state, CONTROL)
        report.on_log(CONFIG, state, CONTROL, logs={"loss": 1 / number, "ce_loss": 2 / number})
        score = 0.75 if number == 2 else 0.5
        report.on_evaluate(CONFIG, state, CONTROL, metrics={"eval_accuracy": 0.25, "eval_macro_f1": score})
    report.on_train_end(CONFIG, state, CONTROL)
    return console.file.getvalue()


def test_a_log_file_gets_lines() -> None:
    printed = told(terminal=False, evaluations=2).splitlines()
    assert printed[0].startswith("step 10/20  loss 1.0000  cross-entropy 2.0000  0:")
    assert printed[0].endswith(" left")
    assert printed[1] == "step 10/20  epoch 1.0  validation accuracy 0.2500  macro-F1 0.5000"


def test_a_terminal_gets_a_table_that_marks_the_best() -> None:
    printed = told(terminal=True, evaluations=LINES + 3)
    table = printed[printed.rindex("step") :].splitlines()
    assert table[0].split() == ["step", "epoch", "loss", "cross-entropy", "accuracy", "macro-F1"]
    assert len(table) == LINES + 4  # all of them in the end
    assert [line.split()[0] for line in table if line.rstrip().endswith("best")] == ["20"]
    assert table[2].split() == ["20", "2.0", "0.5000", "1.0000", "0.2500", "0.7500", "best"]


def test_a_table_goes_on_where_the_run_was_left() -> None:
    before = [
        {"loss": 3.0, "step": 5, "epoch": 0.5},
        {"eval_accuracy": 0.9, "eval_macro_f1": 0.9, "step": 5, "epoch": 0.5},
    ]
    printed = told(terminal=True, evaluations=1, before=before)
    table = printed[printed.rindex("step") :].splitlines()
    assert [line.split()[0] for line in table[1:]] == ["5", "10"]
    assert table[1].rstrip().endswith("best")


def test_an_evaluation_without_the_score_that_decides_is_a_line_without_a_cell() -> None:
    before = [{"eval_accuracy": 0.9, "step": 5, "epoch": 0.5}]
    printed = told(terminal=True, evaluations=1, before=before)
    table = printed[printed.rindex("step") :].splitlines()
    assert table[0].split() == ["step", "epoch", "loss", "cross-entropy", "accuracy", "macro-F1"]
    assert table[1].split() == ["5", "0.5", "0.9000"]
    assert table[2].rstrip().endswith("best")

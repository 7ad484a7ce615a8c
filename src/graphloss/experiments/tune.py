"""A search for settings by validation scores: G-Loss-O, and the same for every loss."""

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from graphloss.data.splits import Splits
from graphloss.errors import InputError
from graphloss.experiments.lease import is_held, lease
from graphloss.experiments.space import Range, Space, as_setting
from graphloss.run import RunConfig, run_training
from graphloss.run.documents import LabelledSplits, read_documents_of
from graphloss.run.results import add_test
from graphloss.training.failures import NonFiniteLoss, OutOfMemory
from graphloss.training.run_directory import write_json

WAIT = 2.0  # seconds between two looks at what other workers do
HEARTBEAT = 30  # seconds, in a database


@dataclass
class Tuning:
    """A study, and what its trials have in common.

    Attributes:
        folder: holds trials/, each a run directory; study.log, where no other storage is named; and at the end best/,
            the run of the best trial, and tuning.json.
        settings: of all trials, by the names of the flags of `graphloss train`.
        space: what is searched.
        trials: that are to end, of all workers together; those that are stopped early or fail count.
        storage: an URL that SQLAlchemy understands; None for a journal in the folder.
        seed: of the search.
        say: told how each trial ended.
    """

    folder: Path
    settings: dict[str, Any]
    space: Space
    trials: int
    storage: str | None
    seed: int
    say: Callable[[str], None]

    def run(self) -> dict[str, Any]:
        """Work on the study until it is over, beside other workers if there are any, and keep the best run.

        A trial whose worker died is queued again. Trials see no test documents; at the end the best run, and no other,
        is scored on them.

        Returns:
            What tuning.json holds: what `search` gives, and where the run is.

        Raises:
            InputError: where the study is one of other settings, or no trial was completed; without optuna.
        """
        optuna, splits = _optuna(), self._splits()
        return self._conclude(optuna, self._work(optuna, splits), splits)

    def search(self) -> dict[str, Any]:
        """Work on the study until it is over, as in `run`, for settings that other runs are to be made with.

        No trial is scored on test documents. Of trials that have ended the journal is all that is needed to go on.

        Returns:
            Number, settings and validation score of the best trial, how much each searched setting mattered, how many
            trials there were, and the seconds of all trials together.
        """
        optuna = _optuna()
        study = self._work(optuna, self._splits())
        return self._found(optuna, study, self._complete(optuna, study))

    def _splits(self) -> Splits:
        return read_documents_of(self._config({}, self.folder), self.say)

    def _work(self, optuna: Any, splits: Splits) -> Any:
        """The study, when as many trials as are wanted have ended."""
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        study = self._open(optuna)
        self._check_same(study)
        while True:
            with contextlib.ExitStack() as turn:
                if turn.enter_context(lease(self.folder / "leases" / "next")):
                    self._queue_again(optuna, study)
                    ended = sum(_has_ended(trial) for trial in study.get_trials(deepcopy=False))
                    if ended >= self.trials:
                        return study
                    running = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)))
                    if ended + running < self.trials:
                        self._next(optuna, study, Splits(splits.train, splits.validation), turn)
                        continue
            time.sleep(WAIT)

    def _next(self, optuna: Any, study: Any, splits: Splits, turn: contextlib.ExitStack) -> None:
        """One trial; `turn` ends as soon as others can see it."""
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials), constant_liar=True)

        def objective(trial: Any) -> float:
            with lease(self._lease(trial.number)):
                turn.close()
                return self._do(optuna, trial, splits, study)

        study.optimize(objective, n_trials=1, catch=(NonFiniteLoss, OutOfMemory))

    def _do(self, optuna: Any, trial: Any, splits: Splits, study: Any) -> float:
        path, start = self._path(trial.number), time.perf_counter()
        searched = {name: _suggest(trial, name, values) for name, values in self.space.items()}
        config = self._config(searched, path)
        metric = str(config.training.metric_for_best_model)
        name = f"trial {trial.number}  {_shown(searched)}"
        try:
            found = run_training(config, splits, overwrite=True, callbacks=[_Watch(optuna, trial, metric)])
        except optuna.TrialPruned:
            shutil.rmtree(path)
            self.say(f"{name}  stopped early")
            raise
        except (NonFiniteLoss, OutOfMemory) as error:
            trial.set_user_attr("failed", str(error))
            self.say(f"{name}  failed: {error}")
            raise
        finally:
            trial.set_user_attr("seconds", time.perf_counter() - start)
        score = float(found["validation"][metric])
        self.say(f"{name}  validation {metric} {score:.4f}")
        complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if any(done.value >= score for done in complete):  # nobody will ask for its model
            shutil.rmtree(path / "model")
            shutil.rmtree(path / "index", ignore_errors=True)
        return score

    def _conclude(self, optuna: Any, study: Any, splits: Splits) -> dict[str, Any]:
        """Keep the best run and score it on the test documents; what another worker did already is read."""
        file = self.folder / "tuning.json"

        def found() -> dict[str, Any] | None:
            summary = json.loads(file.read_text()) if file.exists() else {"trials": 0}
            return summary if summary["trials"] >= self.trials else None  # else it is of fewer trials

        while (summary := found()) is None:
            with lease(self.folder / "leases" / "best") as mine:
                if mine and found() is None:
                    write_json(file, self._keep_best(optuna, study, splits))
                    continue
            time.sleep(WAIT)
        return summary

    def _keep_best(self, optuna: Any, study: Any, splits: Splits) -> dict[str, Any]:
        with_model = [each for each in self._complete(optuna, study) if (self._path(each.number) / "model").exists()]
        found = self._found(optuna, study, with_model)
        partial = self.folder / "best.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self._path(found["trial"]), partial)
        if splits.test is not None:
            add_test(partial, LabelledSplits.of(splits, lambda line: None))
        shutil.rmtree(self.folder / "best", ignore_errors=True)
        partial.rename(self.folder / "best")
        return found | {"run": str(self.folder / "best")}

    def _complete(self, optuna: Any, study: Any) -> list[Any]:
        complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if not complete:
            raise InputError(f"{self.folder}: no trial was completed; see how they failed, and search elsewhere")
        return list(complete)

    def _found(self, optuna: Any, study: Any, trials: list[Any]) -> dict[str, Any]:
        """What `search` gives of the best of some trials."""
        best = max(trials, key=lambda trial: trial.value)
        return {
            "trial": best.number,
            "settings": {name: as_setting(name, value) for name, value in best.params.items()},
            "validation_score": best.value,
            "importances": importances(optuna, study, self.seed),
            "trials": sum(_has_ended(trial) for trial in study.trials),
            "seconds": sum(trial.user_attrs.get("seconds", 0.0) for trial in study.trials),
        }

    def _open(self, optuna: Any) -> Any:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self.storage is None:
            backend = optuna.storages.journal.JournalFileBackend(str(self.folder / "study.log"))
            storage = optuna.storages.JournalStorage(backend)
        else:
            storage = optuna.storages.RDBStorage(
                self.storage,
                heartbeat_interval=HEARTBEAT,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
        return optuna.create_study(
            storage=storage,
            study_name="graphloss",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )

    def _check_same(self, study: Any) -> None:
        """What is searched, and what all trials have in common, is a matter of the study."""
        own = {name: value for name, value in self.settings.items() if name != "output_dir"} | {"search": self.space}
        plain = json.loads(json.dumps(own))  # tuples are lists there
        kept = study.user_attrs.get("settings")
        if kept is None:
            study.set_user_attr("settings", plain)
        elif kept != plain:
            other = [name for name in sorted(kept.keys() | plain.keys()) if kept.get(name) != plain.get(name)]
            raise InputError(f"{self.folder} holds a study with other {', '.join(other)}; name another --output_dir")

    def _queue_again(self, optuna: Any, study: Any) -> None:
        """Recognize trials whose worker died: in a database by their heartbeat, else by their lease."""
        if self.storage is not None:
            optuna.storages.fail_stale_trials(study)
            return
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if not is_held(self._lease(trial.number)):
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(trial.params)
                shutil.rmtree(self._path(trial.number), ignore_errors=True)
                self.say(f"trial {trial.number}  its worker died; queued again")

    def _config(self, searched: dict[str, Any], path: Path) -> RunConfig:
        own = {"output_dir": str(path), "floor": False}
        return RunConfig.of(self.settings | searched | own)

    def _path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04}"

    def _lease(self, number: int) -> Path:
        return self.folder / "leases" / f"{number:04}"


class _Watch(TrainerCallback):
    """Tells the study of each evaluation, and stops a trial that lags behind."""

    def __init__(self, optuna: Any, trial: Any, metric: str) -> None:
        self.optuna, self.trial, self.metric = optuna, trial, metric

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        self.trial.report(given["metrics"][f"eval_{self.metric}"], state.global_step)
        if self.trial.should_prune():
            raise self.optuna.TrialPruned


def importances(optuna: Any, study: Any, seed: int) -> dict[str, float]:
    """How much of the differences between scores each searched setting explains; nothing where there are none.

    By functional analysis of variance (Hutter et al., 2014): optuna's own choice compares the best few trials with the
    others, of which a search of fifteen has too few to tell.
    """
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _suggest(trial: Any, name: str, values: Range | tuple[Any, ...]) -> Any:
    if isinstance(values, Range):
        return as_setting(name, trial.suggest_float(name, values.low, values.high, log=values.log))
    return as_setting(name, trial.suggest_categorical(name, values))


def _shown(searched: dict[str, Any]) -> str:
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in searched.items()}
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _has_ended(trial: Any) -> bool:
    """Complete, stopped early, or failed by itself; not one whose worker died."""
    return trial.state.name in ("COMPLETE", "PRUNED") or "failed" in trial.user_attrs


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("graphloss tune searches with optuna; pip install graphloss[tune]") from None
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats, for years now
    return optuna

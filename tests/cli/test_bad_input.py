"""One otherwise good file for each mistake, the one line it gets, exit status 2, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from graphloss.cli.main import main

GOOD = "text,label\na goal,sports\nmatch day,sports\na team,sports\nhot soup,food\nsalt bread,food\nan oven,food\n"


def write(content: str | bytes, name: str = "train.csv") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["--train", str(path)]

    return make


def good(*flags: str) -> Callable[[Path], list[str]]:
    return lambda folder: [*write(GOOD)(folder), *flags]


def with_split(split: str, content: str) -> Callable[[Path], list[str]]:
    return lambda folder: [*write(GOOD)(folder), f"--{split}", write(content, f"{split}.csv")(folder)[1]]


def folder_as_file(folder: Path) -> list[str]:
    (folder / "train.csv").mkdir()
    return ["--train", str(folder / "train.csv")]


def file_as_folder(folder: Path) -> list[str]:
    return ["--data", write(GOOD)(folder)[1]]


def two_training_files(folder: Path) -> list[str]:
    write(GOOD, "train.csv")(folder)
    write(GOOD.replace(",", "\t"), "train.tsv")(folder)
    return ["--data", str(folder)]


def config(content: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / "run.yaml").write_text(content)
        return [*write(GOOD)(folder), "--config", str(folder / "run.yaml")]

    return make


MISTAKES = {
    "no documents": (lambda folder: [], "give the documents either as --train FILE or as --data FOLDER-or-name"),
    "missing file": (lambda folder: ["--train", str(folder / "no.csv")], "no.csv does not exist; check the path"),
    "several values of a setting of transformers": (
        config("seed: [1, a]\n"),
        "seed must be a single value, got [1, 'a']",
    ),
    "a seed that no generator takes": (good("--seed=-1"), "seed must lie between 0 and 4,294,967,295, got -1"),
    "an empty setting of transformers": (config("seed:\n"), "seed must not be empty"),
    "a name too long for any file": (good("--unlabelled", "ä" * 300), ": File name too long; name another path"),
    "empty file": (write(""), "train.csv is empty; it needs a header and rows"),
    "header only": (write("text,label\n"), "train.csv has a header but no rows; add documents"),
    "unknown format": (
        write(GOOD, "train.xlsx"),
        "train.xlsx: its format is not known by its name; use one of .parquet",
    ),
    "no text column": (
        write(GOOD.replace("text,", "body,")),
        "train.csv: no column 'text'; it has 'body', 'label'; name the right one with --text_column",
    ),
    "no label column": (
        write(GOOD.replace("label", "class")),
        "train.csv: no column 'label'; it has 'text', 'class'; name the right one with --label_column",
    ),
    "too many fields": (
        write(GOOD + "soup, with salt,food\n"),
        "train.csv, row 7 (line 8): 3 fields where the header has 2; put fields that contain a comma in double quotes",
    ),
    "too few fields": (write(GOOD + "soup\n"), "train.csv, row 7 (line 8): 1 fields where the header has 2"),
    "open quote": (
        write(GOOD + '"a star,space\na comet,space\n'),
        "train.csv, row 7 (line 8): a quote that opens here is not closed",
    ),
    "quote inside": (
        write(GOOD + '"a "bright" star",space\n'),
        "train.csv, row 7 (line 8): a quote that opens here is not closed properly",
    ),
    "empty text": (
        write(GOOD + " ,food\nx,food\n,food\n"),
        "train.csv, row 7 (line 8): the text is empty, in 2 of 9 rows of 'text'; fill it in or take the rows out",
    ),
    "no label": (
        write(GOOD + "x,\n"),
        "train.csv, row 7 (line 8): no label, in 1 of 7 rows of 'label'; fill it in, or take such rows as unlabelled "
        "documents with --allow_unlabelled",
    ),
    "one class": (
        write("text,label\na,x\nb,x\nc,y\n"),
        "train.csv: training needs two classes with two documents each, found 'x': 2, 'y': 1; add documents",
    ),
    "unseen validation label": (
        with_split("validation", "text,label\na,space\n"),
        "validation.csv, row 1 (line 2): label 'space' does not occur in training, where the labels are 'food', "
        "'sports'; correct it or take the row out",
    ),
    "unseen test label": (
        with_split("test", GOOD + "\na,space\n"),
        "test.csv, row 7 (line 9): label 'space' does not occur in training",
    ),
    "unlabelled validation": (with_split("validation", "text,label\na,\n"), "validation.csv, row 1 (line 2): no label"),
    "not UTF-8": (
        write(GOOD.encode() + b"caf\xe9,food\n"),
        "train.csv, line 8: byte 0xe9 is not UTF-8; save the file as UTF-8",
    ),
    "not JSON": (write('{"text": "a", "label": 1}\n{oops\n', "t.jsonl"), "t.jsonl, line 2: not JSON"),
    "JSON of another kind": (write("[1]\n", "t.jsonl"), "t.jsonl, line 1: a JSON list; write one JSON object a line"),
    "not Parquet": (write(GOOD, "t.parquet"), "t.parquet cannot be read as Parquet"),
    "folder as file": (folder_as_file, "train.csv is a folder where a file is due; name a file in it, or give"),
    "file as folder": (file_as_folder, "train.csv is a file where a folder is due; give a single file as --train"),
    "folder without train": (lambda folder: ["--data", str(folder)], "holds no train.parquet|.csv|.tsv|.jsonl"),
    "two training files": (two_training_files, "holds train.csv and train.tsv; keep one of them"),
    "unknown data": (lambda folder: ["--data", "no such data"], "neither a folder, nor a benchmark (mr, r8, r52"),
    "validation beside data": (
        lambda folder: ["--data", str(folder), "--validation", "x.csv"],
        "--validation and --test go with --train",
    ),
    "validation fraction": (
        good("--validation_fraction", "1.5"),
        "--validation_fraction must lie between 0 and 1, got 1.5",
    ),
    "sigma zero": (
        good("--bandwidth", "0"),
        "bandwidth must be a positive finite number or one of sqrt, dicm, loo, local, learned, got 0",
    ),
    "sigma negative": (
        good("--bandwidth=-1"),
        "bandwidth must be a positive finite number or one of sqrt, dicm, loo, local, learned, got -1",
    ),
    "sigma NaN": (
        good("--bandwidth", "nan"),
        "bandwidth must be a positive finite number or one of sqrt, dicm, loo, local, learned, got nan",
    ),
    "sigma inf": (
        good("--bandwidth", "inf"),
        "bandwidth must be a positive finite number or one of sqrt, dicm, loo, local, learned, got inf",
    ),
    "gamma": (good("--labelled_fraction", "1.1"), "labelled_fraction must lie in [0, 1], got 1.1"),
    "lambda": (good("--graph_weight=-0.1"), "graph_weight must lie in [0, 1], got -0.1"),
    "micro batch zero": (
        good("--micro_batch_size", "0"),
        "micro_batch_size must be auto or a number above 0, got '0'",
    ),
    "unknown precision": (good("--precision", "half"), "argument --precision: invalid choice: 'half'"),
    "contradicting precisions": (
        good("--bf16", "--precision", "float32"),
        "--bf16 and --precision contradict; give one",
    ),
    "more of a class than of all": (
        good("--documents_per_class", "200"),
        "documents_per_class must lie between 0 and per_device_train_batch_size 128, got 200",
    ),
    "attention that is not installed": (
        good("--attn_implementation", "flash_attention_2", "--max_length", "64"),
        "cannot be loaded: ",
    ),
    "attention that is not installed, frozen": (
        good("--attn_implementation", "flash_attention_2", "--max_length", "64", "--setup", "frozen", "--quiet"),
        "cannot be loaded: ",
    ),
    "no such encoder": (good("--encoder", "./nowhere"), "encoder './nowhere' does not exist; give minilm, a folder"),
    "encoder not on the hub": (
        good("--encoder", "nobody/nothing"),
        "encoder 'nobody/nothing' cannot be loaded from the hub",
    ),
    "unknown flag": (good("--learning-speed", "1"), "unknown: --learning-speed 1; see graphloss train --help"),
    "unknown choice": (good("--head", "two"), "argument --head: invalid choice: 'two'"),
    "no number": (good("--max_steps", "few"), "argument --max_steps/--max-steps: invalid int value: 'few'"),
    "config missing": (good("--config", "no.yaml"), "--config no.yaml is not a file"),
    "config not YAML": (config("a: [1"), "run.yaml is not YAML"),
    "config not a mapping": (config("- 1"), "run.yaml must hold one `name: value` a line"),
    "config unknown field": (config("lamda: 0.3"), "run.yaml: unknown lamda; the names are those of the flags"),
    "config wrong value": (config("max_steps: few"), "run.yaml: max_steps cannot be 'few'"),
    "config wrong choice": (config("head: two"), "run.yaml: head must be one of stock, linear, got 'two'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_clear_line_and_nothing_written(
    mistake: str, tmp_path: Path, encoders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = MISTAKES[mistake]
    given = make(tmp_path)
    output = tmp_path / "out"
    encoder = [] if "--encoder" in given else ["--encoder", str(encoders["bert"])]
    before = sorted(tmp_path.rglob("*"))
    status = main(["train", *given, *encoder, "--output_dir", str(output)])
    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.startswith("graphloss train: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_dir_that_holds_a_run(
    tmp_path: Path, encoders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["train", *write(GOOD)(tmp_path), "--encoder", str(encoders["bert"])]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    assert main([*flags, "--output_dir", str(tmp_path / "run")]) == 2
    assert "holds a run; name another --output_dir, or give --resume or --overwrite" in capsys.readouterr().err
    assert main([*flags, "--output_dir", str(tmp_path / "train.csv")]) == 2
    assert "train.csv is a file where a folder is due" in capsys.readouterr().err
    assert main(flags) == 2
    assert "--output_dir is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: graphloss VERB"),
        (["fly"], "graphloss: no verb 'fly'; it is one of train"),
        (["predict", "--model", "{run}"], "the following arguments are required: --input, --output"),
        (["predict", "--model", "{run}", "--input", "{data}", "--output", "{out}/p.csv"], "holds no trained model"),
        (["predict", "--model", "{run}", "--input", "{data}", "--output", "p.doc"], "p.doc: its format is not known"),
        (["predict", "--model", "{run}", "--input", "{data}", "--output", "{data}"], "--output is --input"),
        (["evaluate", "--model", "{run}", "--data", "{data}"], "holds no trained model; give the --output_dir"),
        (["evaluate", "--model", "{run}", "--data", "no.csv"], "no.csv does not exist"),
    ],
)
def test_the_other_verbs(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"run": tmp_path, "data": write(GOOD)(tmp_path)[1], "out": tmp_path / "out"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err


def test_a_cache_that_cannot_be_written_is_said_once(
    tmp_path: Path, encoders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    given = [*good("--max_steps", "1", "--use_cpu")(tmp_path), "--encoder", str(encoders["bert"])]
    run = ["--cache_dir", str(tmp_path / "file" / "below"), "--output_dir", str(tmp_path / "out")]
    assert main(["train", *given, *run]) == 0
    assert capsys.readouterr().out.count("tokens are not kept") == 1

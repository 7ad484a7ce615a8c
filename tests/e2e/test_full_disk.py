"""A file system that fills while a run is trained on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
mount -t tmpfs -o size=$SIZE tmpfs "$DISK" || exit 99
"$PYTHON" -m graphloss "$@" --output_dir "$DISK/run"
echo "first: $?"
ls "$DISK/run"
mount -o remount,size=64m "$DISK"
"$PYTHON" -m graphloss "$@" --output_dir "$DISK/run" --resume
echo "second: $?"
cp -r "$DISK/run" "$KEPT"
"""
USUAL = (
    "--use_cpu --max_length 16 --per_device_train_batch_size 10 --num_train_epochs 3 --learning_rate 3e-3 --floor no "
    "--save_strategy steps --save_steps 2 --logging_steps 1 --patience 0 --precision float32 --cache_dir none --quiet"
)


@pytest.mark.slow
def test_the_last_good_checkpoint_stays_and_is_gone_on_from(
    encoders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--data", str(data), "--encoder", str(encoders["bert"]), *USUAL.split()]
    whole, disk, kept = (tmp_path / name for name in ("whole", "disk", "kept"))
    disk.mkdir()
    command = [sys.executable, "-m", "graphloss", *arguments, "--output_dir", str(whole)]
    assert subprocess.run(command, check=False).returncode == 0
    environment = os.environ | {"PYTHON": sys.executable, "DISK": str(disk), "KEPT": str(kept), "SIZE": "900k"}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "could not be written" in done.stderr, done.stderr
    assert "to go on from with --resume" in done.stderr
    assert "first: 3" in done.stdout
    assert "second: 0" in done.stdout
    assert "checkpoint.partial" not in done.stdout
    weights, expected = (load_file(run / "model" / "model.safetensors") for run in (kept, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)

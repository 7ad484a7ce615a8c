"""Two network namespaces with an address each, as two machines have them. Needs root, and iproute2."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invariant.histories import largest_difference

NAMESPACES, ADDRESSES, LINKS = ("graphloss-a", "graphloss-b"), ("10.77.31.1", "10.77.31.2"), ("gl-link-a", "gl-link-b")
USUAL = (
    "train --use_cpu --quiet --max_steps 12 --logging_steps 1 --dropout 0 --precision float32 --no_floor "
    "--eval_strategy no --save_strategy no --cache_dir none"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[None]:
    for name in NAMESPACES:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)  # of a run that was killed
        ip(f"netns add {name}")
    ip(f"link add {LINKS[0]} type veth peer name {LINKS[1]}")
    for name, link, address in zip(NAMESPACES, LINKS, ADDRESSES, strict=True):
        ip(f"link set {link} netns {name}")
        ip(f"-n {name} addr add {address}/24 dev {link}")
        ip(f"-n {name} link set {link} up")
        ip(f"-n {name} link set lo up")
    yield
    for name in NAMESPACES:
        ip(f"netns del {name}")


def test_two_machines_are_one(machines: None, encoders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    given = [*USUAL.split(), "--encoder", str(encoders["bert"]), "--data", str(data)]
    graphloss = [sys.executable, "-m", "graphloss", *given]
    alone = [*graphloss, "--output_dir", str(tmp_path / "one"), "--per_device_train_batch_size", "16"]
    subprocess.run(alone, check=True)
    together = [*graphloss, "--output_dir", str(tmp_path / "two"), "--per_device_train_batch_size", "8"]
    processes = []
    for rank, (name, link) in enumerate(zip(NAMESPACES, LINKS, strict=True)):
        variables = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "GLOO_SOCKET_IFNAME": link}
        variables |= {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": 29511}
        environment = os.environ | {key: str(value) for key, value in variables.items()}
        processes.append(subprocess.Popen(["ip", "netns", "exec", name, *together], env=environment))
    assert [process.wait(180) for process in processes] == [0, 0]
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-4

import json
from pathlib import Path

import pytest

from graphloss.models.sentence_encoder import read_max_length, read_pooling, write_modules


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_what_is_written_is_read(pooling: str, tmp_path: Path) -> None:
    write_modules(tmp_path, pooling=pooling, dimension=8, max_length=77)
    assert read_pooling(str(tmp_path), local=True) == pooling
    assert read_max_length(tmp_path) == 77


@pytest.mark.parametrize(
    ("stated", "pooling"),
    [
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "weightedmean"}, None),
        ({"pooling_mode_max_tokens": True}, None),
        ({}, None),
    ],
)
def test_other_forms(stated: dict, pooling: str | None, tmp_path: Path) -> None:
    assert read_pooling(str(tmp_path), local=True) is None
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(stated))
    assert read_pooling(str(tmp_path), local=True) == pooling

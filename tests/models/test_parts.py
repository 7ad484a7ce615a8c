"""Cutting documents into parts of like length."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphloss.models.parts import Budget, cut, parts_by_length

lengths_of = st.lists(st.integers(1, 40), min_size=1, max_size=9)


def cost(parts: list[list[int]], budget: Budget) -> int:
    return sum(len(part) * max(part) + budget.overhead for part in parts)


def cheapest(lengths: list[int], budget: Budget, most: int) -> int:
    """By trying every way to cut."""
    ascending, found = sorted(lengths), []
    for borders in itertools.product([False, True], repeat=len(lengths) - 1):
        parts = [[ascending[0]]]
        for length, border in zip(ascending[1:], borders, strict=True):
            if border:
                parts.append([])
            parts[-1].append(length)
        if all(len(p) == 1 or (len(p) <= most and len(p) * max(p) <= budget.tokens) for p in parts):
            found.append(cost(parts, budget))
    return min(found)


@settings(max_examples=60, deadline=None)
@given(lengths_of, st.integers(1, 200), st.integers(0, 60), st.integers(1, 9))
def test_no_other_cut_costs_less(lengths: list[int], tokens: int, overhead: int, most: int) -> None:
    budget = Budget(tokens, overhead)
    parts = parts_by_length(torch.tensor(lengths), budget, most)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(lengths)))
    longest = [[lengths[row] for row in part.tolist()] for part in parts]
    assert all(max(a) <= min(b) for a, b in itertools.pairwise(longest))
    assert all(len(part) <= most for part in longest)
    assert all(len(part) == 1 or len(part) * max(part) <= tokens for part in longest)
    assert cost(longest, budget) == cheapest(lengths, budget, most)


def test_no_documents_are_no_parts() -> None:
    assert parts_by_length(torch.zeros(0, dtype=torch.int64), Budget(10, 1)) == []


def test_a_corpus_is_cut_fast_and_hardly_padded() -> None:
    lengths = torch.from_numpy(np.random.default_rng(0).integers(5, 128, 8_192))
    parts = parts_by_length(lengths, Budget(2_048, 192))
    padded = sum(len(part) * int(lengths[part].max()) for part in parts)
    assert padded < 1.02 * int(lengths.sum())


@pytest.mark.parametrize("side", ["left", "right"])
def test_parts_lose_padding_columns_alone(side: str) -> None:
    lengths = [3, 5, 1, 5]
    mask = torch.tensor([[1] * n + [0] * (6 - n) for n in lengths])
    mask = mask.flip(1) if side == "left" else mask
    ids = torch.arange(24).view(4, 6) * mask
    parts = parts_by_length(torch.tensor(lengths), Budget(10, 0), 2)
    for rows, tensors in zip(parts, cut({"input_ids": ids, "attention_mask": mask}, parts), strict=True):
        assert tensors["input_ids"].shape == (len(rows), max(lengths[row] for row in rows.tolist()))
        assert tensors["input_ids"].sum() == ids[rows].sum()
        assert tensors["attention_mask"].sum() == mask[rows].sum()

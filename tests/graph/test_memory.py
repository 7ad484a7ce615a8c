import torch

from graphloss.graph.memory import Memory


def numbered(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.arange(first, first + count)
    return rows[:, None].float().expand(count, 3).clone(), rows


def held(memory: Memory, step: int) -> list[int]:
    recent = memory.recent(step)
    if recent is None:
        return []
    assert recent[0][:, 0].tolist() == recent[1].tolist()
    return sorted(recent[1].tolist())


def test_the_last_documents_are_held() -> None:
    memory = Memory(5, 100)
    assert held(memory, 0) == []
    memory.add(*numbered(0, 3), step=0)
    assert held(memory, 1) == [0, 1, 2]
    memory.add(*numbered(3, 3), step=1)
    assert held(memory, 2) == [1, 2, 3, 4, 5]
    memory.add(*numbered(6, 9), step=2)
    assert held(memory, 3) == [10, 11, 12, 13, 14]
    memory.clear()
    assert held(memory, 3) == []


def test_old_batches_are_dropped_and_what_is_left_may_go_round_the_end() -> None:
    memory = Memory(7, 2)
    for step in range(4):
        memory.add(*numbered(3 * step, 3), step=step)
    assert held(memory, 4) == [6, 7, 8, 9, 10, 11]  # steps 2 and 3
    assert held(memory, 5) == [9, 10, 11]
    assert held(memory, 6) == []


def test_state_goes_there_and_back() -> None:
    memory, copy = Memory(4, 10), Memory(4, 10)
    memory.add(*numbered(0, 3), step=0)
    memory.add(*numbered(3, 3), step=1)
    copy.restore(memory.state())
    assert held(copy, 2) == held(memory, 2) == [2, 3, 4, 5]
    copy.add(*numbered(6, 1), step=2)
    assert held(copy, 3) == [3, 4, 5, 6]


def test_a_batch_without_labels_adds_nothing() -> None:
    memory = Memory(4, 10)
    memory.add(*numbered(0, 0), step=0)
    assert memory.recent(1) is None

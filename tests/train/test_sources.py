"""Several sources as one, and rounds of a source that follows the training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks_kit import Numbers, Plain
from torch import Tensor, nn

from opendojo.train import Mixed, OptimConfig, TrainConfig, train
from opendojo.train.checkpoint import newest_whole, read_progress

CONFIG = TrainConfig(steps=12, checkpoint_every=100, threads=1, optim=OptimConfig(warmup_steps=1))


class Named:
    """Batches that say whose they are, which epoch and which number."""

    def __init__(self, name: str, count: int) -> None:
        self.fingerprint, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[tuple[str, int, int]]:
        for number in range(start_batch, self.count):
            yield self.fingerprint, epoch, number


def test_sources_are_mixed_by_weight_and_each_keeps_its_order() -> None:
    mixed = Mixed([(Named("a", 6), 0.5), (Named("b", 2), 3.0)], seed=1)
    assert len(mixed) == 3 + 6
    epochs = [list(mixed.batches(epoch)) for epoch in range(3)]
    for name, count, draws in (("a", 6, 3), ("b", 2, 6)):
        mine = [(epoch, number) for each in epochs for who, epoch, number in each if who == name]
        assert mine == [divmod(k, count) for k in range(3 * draws)]
    order = [[who for who, _, _ in each] for each in epochs]
    assert order[0] != order[1], "shuffled anew in each epoch"
    assert order[0] != sorted(order[0])


def test_a_mixture_is_entered_anywhere() -> None:
    mixed = Mixed([(Named("a", 6), 0.5), (Named("b", 2), 3.0)], seed=1)
    whole = list(mixed.batches(2))
    assert all(list(mixed.batches(2, start)) == whole[start:] for start in range(len(mixed) + 1))


def test_the_fingerprint_tells_mixtures_apart() -> None:
    def print_of(weight: float, seed: int, name: str = "b") -> str:
        return Mixed([(Named("a", 6), 1.0), (Named(name, 2), weight)], seed).fingerprint

    assert print_of(1.0, 0) == print_of(1.0, 0)
    assert len({print_of(1.0, 0), print_of(2.0, 0), print_of(1.0, 1), print_of(1.0, 0, "c")}) == 4


def test_wrong_mixtures_are_refused() -> None:
    for wrong in ([], [(Named("a", 0), 1.0)], [(Named("a", 2), 0.0)]):
        with pytest.raises(ValueError, match="weight above 0"):
            Mixed(wrong)


class Rounds(Numbers):
    """An on-policy source: from each round on, its targets are what the trainee says then."""

    round_steps = 4

    def __init__(self) -> None:
        super().__init__()
        self.target = 0.0
        self.begun: list[int] = []
        self.calls: list[int] = []

    def follow(self, state: Callable[[], nn.Module], step: int) -> None:
        self.calls.append(step)
        if step % self.round_steps == 0 or not self.begun:
            # Where it is not the round's beginning, a real source reads its own files.
            self.begun.append(step)
            if step % self.round_steps == 0:
                with torch.no_grad():
                    weight: Any = state().body[0].weight
                    self.target = float(weight.abs().sum())

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[dict[str, Tensor]]:
        for batch in super().batches(epoch, start_batch):
            yield {**batch, "y": batch["y"] + self.target}


def test_a_source_follows_the_weights_and_rounds_begin_on_checkpoints(tmp_path: Path) -> None:
    source = Rounds()
    whole = train(tmp_path / "whole", Plain, source, CONFIG)
    assert source.calls == list(range(12)) and source.begun == [0, 4, 8]
    first = Rounds()
    stopped = train(tmp_path / "a", Plain, first, CONFIG, stop=lambda: len(first.calls) == 8)
    assert stopped.steps == 8
    second = Rounds()
    assert train(tmp_path / "a", Plain, second, CONFIG).digest == whole.digest
    assert second.begun == [8]


def test_a_killed_run_goes_on_from_the_beginning_of_its_round(tmp_path: Path) -> None:
    class Gone(Exception):
        pass

    def fail(row: dict[str, Any]) -> None:
        if row["step"] == 7:
            raise Gone

    with pytest.raises(Gone):
        train(tmp_path, Plain, Rounds(), CONFIG, on_step=fail)
    place = newest_whole(tmp_path / "checkpoints")
    assert place is not None and read_progress(place).step == 4
    again = train(tmp_path, Plain, Rounds(), CONFIG)
    other = train(tmp_path / "b", Plain, Rounds(), dataclasses.replace(CONFIG, log_every=5))
    assert again.digest == other.digest


def test_a_mixture_hands_following_on() -> None:
    rounds = Rounds()
    mixed = Mixed([(Numbers(), 1.0), (rounds, 1.0)])
    assert mixed.round_steps == 4
    mixed.follow(Plain, 4)
    assert rounds.begun == [4]

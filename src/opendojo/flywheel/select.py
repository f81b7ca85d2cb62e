"""Selection: a budget of windows that score high and differ from each other.

Greedy: each time the window with the largest score times distance to what is already chosen. With
equal scores that is the farthest-first traversal, within a factor of two of the best cover of the
embeddings (Gonzalez 1985; core-sets of Sener and Savarese, ICLR 2018).

    chosen = select_windows(score, embedding, budget=100, clip=clip, time_s=time_s)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["random_choice", "select_windows"]

Ints = npt.NDArray[np.int64]

_POOL = 20
"""So many times the budget, the best by score, are looked at: the rest is not worth the time."""


def select_windows(
    score: npt.NDArray[np.float64],
    embedding: npt.NDArray[np.floating],
    *,
    budget: int,
    clip: Ints | None = None,
    time_s: npt.NDArray[np.float64] | None = None,
    apart_s: float = 1.0,
    chosen_before: npt.NDArray[np.floating] | None = None,
    diversity: float = 1.0,
) -> Ints:
    """Rows of the chosen windows, int64 [<= budget], in the order in which they were chosen.

    Args:
        score: float64 [n] in 0..1; windows that score 0 are never taken.
        embedding: [n, d]; distances between them count once they are scaled to unit length.
        budget: how many windows may be labelled.
        clip: int64 [n], the clip each window is of; with `time_s` [n] it keeps windows of one clip
            at least `apart_s` apart.
        chosen_before: [k, d], embeddings of what was trained on already.
        diversity: power of the distance; 0 takes the highest scores.

    Equal inputs give equal choices; ties go to the row that comes first.
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} windows: give at least 1")
    pool = np.argsort(-score, kind="stable")[: _POOL * budget]
    pool = pool[score[pool] > 0]
    points = _unit(embedding[pool])
    far = np.full(len(pool), 2.0)
    for part in _parts(chosen_before):
        far = np.minimum(far, _distances(points, part).min(1))
    free = np.ones(len(pool), bool)
    taken: list[int] = []
    while len(taken) < budget and free.any():
        gain = np.where(free, score[pool] * far**diversity, -1.0)
        if diversity > 0 and gain.max() <= 0:  # the rest has twins among the chosen
            break
        best = int(gain.argmax())
        taken.append(best)
        free[best] = False
        far = np.minimum(far, _distances(points, points[best : best + 1])[:, 0])
        if clip is not None and time_s is not None:
            rows = pool[best]
            near = np.abs(time_s[pool] - time_s[rows]) < apart_s
            free &= ~((clip[pool] == clip[rows]) & near)
    return pool[np.array(taken, np.int64)]


def random_choice(
    count: int,
    *,
    budget: int,
    seed: int,
    clip: Ints | None = None,
    time_s: npt.NDArray[np.float64] | None = None,
    apart_s: float = 1.0,
) -> Ints:
    """The floor: windows at random, under the same rule of distance within a clip."""
    order = np.random.Generator(np.random.Philox(key=[seed, 11])).permutation(count)
    if clip is None or time_s is None:
        return order[:budget].astype(np.int64)
    taken: list[int] = []
    for row in order.tolist():
        if len(taken) == budget:
            break
        mine = np.array(taken, np.int64)
        same = clip[mine] == clip[row]
        if not (same & (np.abs(time_s[mine] - time_s[row]) < apart_s)).any():
            taken.append(row)
    return np.array(taken, np.int64)


def _unit(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    points = np.asarray(points, np.float32)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)


def _parts(points: npt.NDArray[np.floating] | None) -> list[npt.NDArray[np.float32]]:
    if points is None or not len(points):
        return []
    unit = _unit(points)
    return [unit[at : at + 1024] for at in range(0, len(unit), 1024)]


def _distances(
    points: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Distances [n, m] between unit vectors; 0 for equal ones to the last bits."""
    square = 2.0 - 2.0 * (points @ others.T).astype(np.float64)
    return np.sqrt(np.where(square < 1e-6, 0.0, square))

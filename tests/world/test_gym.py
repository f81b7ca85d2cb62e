from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from opendojo.world import TRAINING_SEEDS, WorldConfig, front_only

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode, SyncVectorEnv  # noqa: E402

from opendojo.world.gym import ENV_ID, DrivingEnv, DrivingVectorEnv, Reward  # noqa: E402

CONFIG = WorldConfig(cameras=front_only(32, 16), towns=("country",), agents=4)
FULL, HOLD, LEFT = (np.array(a, np.float32) for a in ((0, 1), (0, -1), (1, 1)))


def test_gymnasiums_checker_has_nothing_to_say() -> None:
    """Its warnings are errors here; it makes, resets, steps and draws."""
    made = gymnasium.make(ENV_ID, config=CONFIG, render_mode="rgb_array")
    check_env(made.unwrapped)


def test_an_observation_is_what_the_world_shows() -> None:
    env = DrivingEnv(CONFIG)
    seen, info = env.reset(seed=3)
    assert seen in env.observation_space and seen["frames"].shape == (1, 24, 32)
    assert info["world"] in TRAINING_SEEDS and env.world.seeds == (info["world"],)
    assert seen["speed"][0] == pytest.approx(float(env.world.speed_mps[0]))
    before = seen["speed"][0]
    seen, *_ = env.step(HOLD)
    assert seen["speed"][0] < before and seen in env.observation_space


def test_a_seed_decides_the_world_and_another_reset_draws_another() -> None:
    env = DrivingEnv(CONFIG)
    first, again = env.reset(seed=5)[1], env.reset()[1]
    assert env.reset(seed=5)[1] == first != again
    held_out = DrivingEnv(CONFIG, held_out=True).reset(seed=5)[1]["world"]
    assert held_out not in TRAINING_SEEDS
    assert env.reset(options={"world": 7})[1] == {"world": 7}


def test_the_reward_is_the_way_newly_driven() -> None:
    env = DrivingEnv(CONFIG)
    env.reset(options={"world": 8})
    total, way = 0.0, float(env.world.progress_m[0])
    for _ in range(8):
        _, reward, ended, late, info = env.step(FULL)
        total += reward
        assert not ended and not late and not info["off_lane"]
    way = float(env.world.progress_m[0]) - way
    assert total == pytest.approx(100.0 * way / 250.0, rel=1e-3) and total > 0.5
    rest = sum(env.step(HOLD)[1] for _ in range(40))
    assert env.step(HOLD)[1] == 0.0 and 0.0 <= rest < 100.0 * 30.0 / 250.0


def test_leaving_the_road_ends_the_episode_and_costs() -> None:
    env = DrivingEnv(CONFIG, reward=Reward(off_road=20.0))
    env.reset(options={"world": 8})
    for _ in range(80):
        _, reward, ended, late, info = env.step(LEFT)
        if ended:
            break
    assert ended and not late and (info["off_road"] or info["collided"])
    assert reward < -15.0


def test_time_runs_out_and_a_short_route_is_completed() -> None:
    env = DrivingEnv(CONFIG, limit_s=0.3)
    env.reset(options={"world": 8})
    flags = [env.step(HOLD)[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]
    short = DrivingEnv(WorldConfig(cameras=CONFIG.cameras, towns=("country",), route_m=4.0))
    short.reset(options={"world": 8})
    steps = [short.step(FULL) for _ in range(8)]
    ends = [step[2] for step in steps]
    assert True in ends and steps[ends.index(True)][4]["completed"]
    assert sum(step[1] for step in steps) == pytest.approx(100.0, abs=0.01)


def test_the_batch_drives_as_single_ones_do() -> None:
    """Against gymnasium's own vector of single environments, over an autoreset."""
    ours = DrivingVectorEnv(3, CONFIG, limit_s=0.4)
    worlds = [8, 9, 12]

    class Fixed(DrivingEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            options = options or {"world": self.world.seeds[0] if self._drives else seed}
            return super().reset(seed=seed, options=options)

    theirs = SyncVectorEnv([lambda: Fixed(CONFIG, limit_s=0.4)] * 3)
    assert ours.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert theirs.single_observation_space == ours.single_observation_space
    assert theirs.action_space == ours.action_space
    both = [ours.reset(options={"worlds": worlds})[0], theirs.reset(seed=worlds)[0]]
    rng = np.random.default_rng(0)
    for _ in range(7):
        assert both[0] in ours.observation_space
        for name in both[0]:
            assert np.array_equal(both[0][name], both[1][name]), name
        action = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        mine, other = ours.step(action), theirs.step(action)
        both = [mine[0], other[0]]
        for a, b in zip(mine[1:4], other[1:4], strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype
        for name in ("progress", "completion", "collided", "_collided"):
            if name in other[4]:
                assert np.array_equal(mine[4][name], other[4][name]), name
    assert theirs.close() is None


@pytest.mark.slow
def test_seeds_of_a_batch_are_those_of_single_environments() -> None:
    single = DrivingEnv(CONFIG).reset(seed=11)[1]["world"]
    batch = DrivingVectorEnv(2, CONFIG)
    assert batch.reset(seed=[11, 12])[1]["world"][0] == single
    first = batch.reset(seed=4)[1]["world"]
    assert not np.array_equal(batch.reset()[1]["world"], first)
    assert np.array_equal(batch.reset(seed=4)[1]["world"], first)
    with pytest.raises(ValueError, match="2 environments"):
        batch.reset(options={"worlds": [1]})


@pytest.mark.slow
def test_worlds_are_renewed() -> None:
    envs = DrivingVectorEnv(2, CONFIG, renew=2)
    worlds = envs.reset(seed=0)[1]["world"]
    action = np.zeros((2, 2), np.float32)
    assert not envs.step(action)[3].any()
    assert envs.step(action)[3].all()
    _, rewards, _, late, info = envs.step(action)
    assert not rewards.any() and not late.any()
    assert not np.array_equal(info["world"], worlds) and envs.world.seeds == tuple(info["world"])


def test_some_are_restarted_by_a_mask() -> None:
    envs = gymnasium.make_vec(ENV_ID, num_envs=2, config=CONFIG, render_mode="rgb_array")
    assert isinstance(envs.unwrapped, DrivingVectorEnv)
    envs.reset(options={"worlds": [8, 9]})
    for _ in range(3):
        envs.step(np.stack([FULL, FULL]))
    seen, _ = envs.reset(options={"reset_mask": np.array([True, False])})
    assert envs.unwrapped.world.state.step.tolist() == [0, 3]
    pictures = envs.render()
    assert len(pictures) == 2 and pictures[0].dtype == np.uint8 and pictures[0].ndim == 3
    assert seen["frames"].shape == (2, 1, 24, 32)


def test_a_missing_extra_says_what_to_install() -> None:
    code = "import sys; sys.modules['gymnasium'] = None; import opendojo.world.gym"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode and "pip install opendojo[gym]" in run.stderr


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="rgb_array"):
        DrivingEnv(CONFIG, render_mode="human")
    with pytest.raises(gymnasium.error.ResetNeeded):
        DrivingEnv(CONFIG).step(FULL)

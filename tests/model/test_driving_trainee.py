import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from net_inputs import SMALL, awake, inputs

from batches import make_batch
from opendojo.model import SUB_SCORES, DrivingNet, DrivingTrainee, LossConfig, NetConfig, Truth
from opendojo.model.trainee import Shown


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def windows(b=2, t=8, **more):
    """A loader's batch, with what `more` holds beside it."""
    frames, there, lens, motion = inputs(b, t)
    batch = make_batch(
        frames,
        camera_mask=there,
        time_s=motion.time_s,
        speed_mps=motion.speed_mps,
        speed_mask=motion.speed_mask,
        path_m=torch.randn(b, t, 16, 2) * 3 + torch.tensor([20.0, 0.0]),
        path_mask=torch.ones(b, t, 16, dtype=torch.bool),
        drawn=torch.ones(b, dtype=torch.bool),
        window_id=torch.arange(b),
    )
    batch = dataclasses.replace(batch, lens=lens)
    if not more:
        return batch
    names = ("frames", "camera_mask", "lens", "time_s", "speed_mps", "speed_mask", "path_m",
             "path_mask", "window_id", "frame_count")  # fmt: skip
    return SimpleNamespace(**{name: getattr(batch, name) for name in names}, **more)


def whole_truth(b=2, t=8, m=5, n=3):
    """Every label, made up."""
    cells, kinds = 32, len(SUB_SCORES)
    agents = torch.rand(b, t, n, 6) * torch.tensor([40.0, 20.0, 3.0, 3.0, 1.0, 9.0]) + 0.5
    return Truth(
        judged=torch.randint(0, 500, (b, t, m)),
        terms=torch.rand(b, t, m, kinds).round(),
        terms_mask=torch.ones(b, t, m, kinds, dtype=torch.bool),
        occupancy=torch.rand(b, t, 2, cells, cells) > 0.9,
        occupancy_mask=torch.ones(b, t, dtype=torch.bool),
        road=torch.rand(b, t, 3, cells, cells) > 0.5,
        road_mask=torch.ones(b, t, dtype=torch.bool),
        agents=agents,
        agents_mask=torch.ones(b, t, n, dtype=torch.bool),
        agents_known=torch.ones(b, t, dtype=torch.bool),
    )


def masked(truth):
    """The same labels, none of them known, each of them not a number where it can be."""
    named = {f.name: getattr(truth, f.name) for f in dataclasses.fields(truth)}
    nothing = {"terms_mask", "occupancy_mask", "road_mask", "agents_mask", "agents_known"}
    changed = {name: torch.zeros_like(named[name]) for name in nothing}
    changed |= {name: named[name] * float("nan") for name in ("terms", "agents")}
    return Truth(**(named | changed))


def test_every_loss_is_there_and_every_parameter_is_reached():
    trainee = DrivingTrainee.around(awake())
    command = torch.arange(16).view(2, 8) % 5
    batch = windows(command=command, truth=whole_truth())
    batch.speed_mask[0] = False
    batch.lens[:, 2, -1] = 0
    losses = trainee(batch)
    assert set(losses) == {
        name
        for name in LossConfig.__dataclass_fields__
        if name not in ("ahead", "aside", "imitate_every", "speed_drop")
    }
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in trainee.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_labels_masked_give_exactly_zero_and_no_gradient():
    trainee = DrivingTrainee.around(awake())
    batch = windows(command=None, truth=masked(whole_truth()))
    batch.path_mask[:] = False
    batch.path_m[:] = float("nan")
    batch.speed_mask[:] = False
    batch.camera_mask[:] = False
    losses = trainee(batch)
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in trainee.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name


def test_masked_labels_change_nothing_beside_known_ones():
    trainee = DrivingTrainee.around(awake())
    bare, more = windows(command=None), windows(command=None, truth=masked(whole_truth()))
    more.path_m = bare.path_m
    grads = []
    for batch in (bare, more):
        trainee.zero_grad(set_to_none=False)
        torch.stack(list(trainee(batch).values())).sum().backward()
        grads.append([p.grad.clone() for p in trainee.parameters() if p.grad is not None])
    reached = [p for p in trainee.parameters() if p.grad is not None]
    assert len(reached) == len(grads[1])
    own = [g for g in grads[1] if g.any()]
    assert len(own) == len([g for g in grads[0] if g.any()])
    pairs = zip(own, [g for g in grads[0] if g.any()], strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_the_loaders_batch_is_enough():
    losses = DrivingTrainee(SMALL)(windows())
    assert set(losses) == {"path", "imitation", "motion", "forecast"}
    assert all(loss.ndim == 0 and loss > 0 for loss in losses.values())
    blind = DrivingTrainee(dataclasses.replace(SMALL, blind=True))(windows())
    assert set(blind) == {"path", "imitation", "motion"}


def test_losses_are_weighted():
    torch.manual_seed(0)
    network = awake()
    one = DrivingTrainee.around(network, LossConfig())(windows())
    torch.manual_seed(0)
    awake()
    two = DrivingTrainee.around(network, LossConfig(path=2.0 * LossConfig().path, motion=0.0))(
        windows()
    )
    assert two["path"].item() == pytest.approx(2 * one["path"].item())
    assert two["motion"].item() == 0.0 and two["forecast"].item() == one["forecast"].item()


def test_the_choices_of_a_step_come_from_its_generator():
    trainee = DrivingTrainee(SMALL, LossConfig(speed_drop=0.5))
    batch = windows(b=32)
    one, two = (trainee.prepare(batch, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one.speed_shown, two.speed_shown) and one.speed_shown.any()
    assert not one.speed_shown.all() and one.frame_count == batch.frame_count
    assert torch.equal(one.window_id, batch.window_id)
    hidden = Shown(batch=windows(), speed_shown=torch.zeros(2, 1, dtype=torch.bool))
    assert not torch.equal(trainee(hidden)["path"], trainee(hidden.batch)["path"])
    moved = hidden.to("cpu")
    assert torch.equal(trainee(moved)["path"], trainee(hidden)["path"])


def test_sub_scores_never_trained_leave_the_choice_to_imitation():
    network = awake()
    with torch.no_grad():
        for last in (network.plan_head.worth, network.ground_head.field):
            last.weight.zero_()
    plan = network(*inputs()).plan
    assert plan.scores is None and torch.equal(plan.best, plan.imitation.argmax(-1))
    with torch.no_grad():
        network.plan_head.worth.weight.normal_()
    judged = network(*inputs()).plan
    assert judged.scores.shape == (*judged.imitation.shape, len(SUB_SCORES))
    assert not torch.equal(judged.best, plan.best)


def test_training_without_judges_never_moves_the_sub_scores():
    trainee = DrivingTrainee(SMALL)
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(list(trainee(windows()).values())).sum().backward()
        optimizer.step()
    assert not trainee.network.plan_head.judges


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_a_judged_candidate_is_taken_where_the_judge_likes_it_alone(size):
    """Sub-scores learn: one candidate is good, the rest are not, and it is chosen."""
    config = dataclasses.replace(SMALL, size=size)
    trainee = DrivingTrainee(config)
    count = len(trainee.network.plan_head.vocabulary)
    judged = torch.arange(count).expand(1, 2, -1)
    terms = torch.zeros(1, 2, count, len(SUB_SCORES))
    terms[:, :, 40] = 1.0
    truth = Truth(judged=judged, terms=terms, terms_mask=torch.ones_like(terms, dtype=torch.bool))
    batch = windows(b=1, t=2, command=None, truth=truth)
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        trainee(batch)["scores"].backward()
        optimizer.step()
    from opendojo.model import motion_of

    output = trainee.network(batch.frames, batch.camera_mask, batch.lens, motion_of(batch))
    assert (output.plan.best == 40).all()


def test_bad_values_are_refused_by_name():
    for bad, word in (({"speed_drop": 1.0}, "speed_drop"), ({"path": -1.0}, "path"),
                      ({"imitate_every": 0}, "imitate_every")):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            LossConfig(**bad)


def test_a_copy_trains_to_the_same_bits():
    trainee = DrivingTrainee(SMALL)
    twin = copy.deepcopy(trainee)
    one, two = trainee(windows()), None
    torch.manual_seed(0)
    DrivingNet(NetConfig(blind=True))
    batch = windows()
    one, two = trainee(batch), twin(batch)
    assert all(torch.equal(one[name], two[name]) for name in one)

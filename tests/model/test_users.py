"""Other road users by image token: labels against projected boxes, bearings, masks."""

import math

import pytest
import torch

from opendojo.model.rays import cell_rays
from opendojo.model.sizes import NetConfig
from opendojo.model.users import Cells, Users, UsersHead, users_loss, users_truth

WIDTH_PX, HEIGHT_PX, FOCAL_PX = 128, 64, 90.0
CELLS = (4, 8)
CAMERA_M = (1.5, 0.0, 1.2)


def lens(yaw_rad: float = 0.0, cameras: int = 1) -> torch.Tensor:
    row = torch.zeros(16)
    row[:4] = torch.tensor([FOCAL_PX, FOCAL_PX, 63.5, 31.5])
    row[9:12] = torch.tensor(CAMERA_M)
    row[14], row[15] = yaw_rad, 1.0
    return row.expand(1, cameras, 16).clone()


def cells(**how: float) -> Cells:
    return Cells.of(cell_rays(lens(**how), CELLS, WIDTH_PX, HEIGHT_PX), CELLS)


def somebody(x: float, y: float, yaw: float = 0.0) -> torch.Tensor:
    return torch.tensor([[[[x, y, yaw, 4.5, 1.8, 3.0]]]])


def projected(x: float, y: float, yaw: float) -> set[tuple[int, int]]:
    """Cells that the picture's bounding box of the car, 1.5 m high, overlaps by a pixel or more."""
    us, vs = [], []
    for i in (-2.25, 2.25):
        for j in (-0.9, 0.9):
            cx = x + i * math.cos(yaw) - j * math.sin(yaw) - CAMERA_M[0]
            cy = y + i * math.sin(yaw) + j * math.cos(yaw) - CAMERA_M[1]
            us.append(63.5 - FOCAL_PX * cy / cx)
            vs += [31.5 - FOCAL_PX * (z - CAMERA_M[2]) / cx for z in (0.0, 1.5)]
    found = set()
    for row in range(CELLS[0]):
        for column in range(CELLS[1]):
            wide = min(max(us), column * 16 + 15.5) - max(min(us), column * 16 - 0.5)
            high = min(max(vs), row * 16 + 15.5) - max(min(vs), row * 16 - 0.5)
            if wide > 1 and high > 1:
                found.add((row, column))
    return found


@pytest.mark.parametrize(
    ("x", "y", "yaw"), [(9, 0, 0), (20, 0.5, 0.1), (14, 4, 0), (30, -6, 1.5), (40, 2, -3)]
)
def test_labels_are_the_cells_that_the_projected_box_meets(x, y, yaw):
    there = users_truth(cells(), somebody(x, y, yaw), torch.ones(1, 1, 1, dtype=torch.bool)).there
    got = {divmod(int(k), CELLS[1]) for k in there[0, 0].nonzero()}
    wanted = projected(x, y, yaw)
    assert wanted and wanted <= got
    # elevation is taken by cell, not by pixel: off the middle a neighbour may come along
    assert all(any(abs(r - a) + abs(c - b) <= 1 for a, b in wanted) for r, c in got)
    assert len(got) <= len(wanted) + 3


def test_the_nearest_counts_and_his_edges_are_told():
    both = torch.cat([somebody(25, 0), somebody(12, 0)], 2)
    told = users_truth(cells(), both, torch.ones(1, 1, 2, dtype=torch.bool))
    column = told.there[0, 0].view(CELLS)[:, 4] > 0.5  # just right of the middle
    nearest_m = math.hypot(12 - 2.25 - 1.5, 0.9)
    assert torch.allclose(
        told.log_range[0, 0].view(CELLS)[:, 4][column].exp() * 10, torch.tensor(nearest_m)
    )
    where = cells()
    k = int(torch.arange(32).view(CELLS)[2, 4])
    right = where.bearing[0, k] + told.right[0, 0, k] * where.half_width[0, k]
    left = where.bearing[0, k] + told.left[0, 0, k] * where.half_width[0, k]
    edge = math.atan2(0.9, 12 - 2.25 - 1.5)
    assert right == pytest.approx(
        max(-edge, float(where.bearing[0, k] - 2 * where.half_width[0, k]))
    )
    assert left == pytest.approx(min(edge, float(where.bearing[0, k] + 2 * where.half_width[0, k])))
    nobody = users_truth(cells(), both, torch.zeros(1, 1, 2, dtype=torch.bool))
    assert not nobody.there.any() and not nobody.log_range.any()


def test_who_is_behind_or_beside_the_camera_is_not_there():
    known = torch.ones(1, 1, 1, dtype=torch.bool)
    for x, y in ((-10, 0), (1.5, 8), (60, 0)):
        assert not users_truth(cells(), somebody(x, y), known).there.any()
    assert users_truth(cells(yaw_rad=math.pi), somebody(-10, 0), known).there.any()


def test_what_tokens_say_stands_at_its_bearing_whatever_the_rig():
    head = UsersHead(NetConfig(), 8)
    for yaw in (0.0, 0.6, -0.9):
        where = cells(yaw_rad=yaw)
        told = users_truth(
            where, somebody(1.5 + 20 * math.cos(yaw), 20 * math.sin(yaw), yaw),
            torch.ones(1, 1, 1, dtype=torch.bool),
        )  # fmt: skip
        users = Users(
            there=torch.where(told.there[:, 0] > 0.5, 20.0, -20.0), log_range=told.log_range[:, 0],
            right=told.right[:, 0], left=told.left[:, 0],
        )  # fmt: skip
        near, some = head._around(users, where)[0].chunk(2)
        middle = (some * head.bearings).sum() / some.sum()
        assert middle == pytest.approx(yaw, abs=math.radians(1.0))
        assert 0.6 < near.max() / (10 / (20 - 2.25)) < 1.0  # its edges are soft
        wide = (some > 0.5).sum() * (head.bearings[1] - head.bearings[0])
        assert wide == pytest.approx(2 * math.atan2(0.9, 17.75), abs=math.radians(3.1))


def test_absent_cameras_say_nothing_and_cost_nothing():
    torch.manual_seed(0)
    head = UsersHead(NetConfig(), 8)
    where = Cells.of(cell_rays(lens(cameras=2), CELLS, WIDTH_PX, HEIGHT_PX), CELLS)
    tokens = torch.randn(1, 64, 8)
    there = torch.arange(64)[None] < 32
    users, lifted = head(tokens, there, where)
    other, same = head(torch.where(there[..., None], tokens, 99.0), there, where)
    assert torch.equal(lifted, same)
    windows = {name: getattr(users, name)[:, None] for name in Users.__slots__}
    truth = users_truth(where, somebody(12, 0), torch.ones(1, 1, 1, dtype=torch.bool))
    known = torch.ones(1, 1, dtype=torch.bool)
    loss = users_loss(Users(**windows), truth, known)
    again = {name: getattr(other, name)[:, None] for name in Users.__slots__}
    assert torch.isfinite(loss) and loss > 0
    assert torch.equal(loss, users_loss(Users(**again), truth, known))
    nothing = users_loss(Users(**windows), truth, ~known)
    nothing.backward()
    assert float(nothing.detach()) == 0 and not head.ask.weight.grad.any()


def test_the_right_answer_costs_least():
    truth = users_truth(cells(), somebody(15, 1), torch.ones(1, 1, 1, dtype=torch.bool))
    known = torch.ones(1, 1, dtype=torch.bool)
    right = Users(
        there=torch.where(truth.there > 0.5, 9.0, -9.0), log_range=truth.log_range,
        right=truth.right, left=truth.left,
    )  # fmt: skip
    best = users_loss(right, truth, known)
    assert best < 0.01
    for name in Users.__slots__:
        off = {n: getattr(right, n) + (0.3 if n == name else 0.0) for n in Users.__slots__}
        if name == "there":
            off[name] = -right.there
        assert users_loss(Users(**off), truth, known) > best + 0.01

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from opendojo.guard.fingerprint import fingerprint
from opendojo.guard.replicas import agree, audit, guilty_of_pairs, minority, sums_agree
from opendojo.guard.stress import judge, work


def test_majority_and_pairs():
    assert minority([7, 7, 9, 7]) == [2]
    assert minority([7, 8]) == [0, 1]
    assert minority([4, 4, 4]) == []
    for guilty in range(4):
        own = [10, 11, 12, 13]
        checks = [own[(rank + 1) % 4] for rank in range(4)]
        assert guilty_of_pairs(own, checks) == []
        own[guilty] ^= 1
        checks[guilty] ^= 2
        assert guilty_of_pairs(own, checks) == [guilty]


def _rank(rank, place, results):
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=4)

    def hash_of(share):
        draw = torch.Generator().manual_seed(share)
        gradient = torch.randn(64, generator=draw) @ torch.randn(64, 8, generator=draw)
        if rank == 2:
            gradient[3] += 1e-3
        return fingerprint(gradient)

    guilty = audit(hash_of).guilty
    bucket = torch.full((100,), float(rank + 1))
    total = bucket.clone()
    dist.all_reduce(total)
    good = sums_agree(bucket, total)
    total[5] += 1
    bad = sums_agree(bucket, total)
    results.put((rank, guilty, agree(5 if rank != 1 else 6), good, bad))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_four_ranks_name_the_faulty_one(tmp_path):
    context = mp.get_context("spawn")
    results = context.SimpleQueue()
    mp.spawn(_rank, args=(tmp_path / "meeting", results), nprocs=4)
    for _ in range(4):
        _rank_number, guilty, odd, good, bad = results.get()
        assert guilty == [2]
        assert odd == [1]
        assert good and not bad


def test_stress_names_the_core_that_differs():
    good = work(range(1))
    assert all(one == two for one, two in good.values())
    bad = {**good, "heat/0": [good["heat/0"][0], good["heat/0"][1] ^ 1]}
    report = judge({"core 0": good, "core 1": bad, "core 2": good}, 1.0)
    assert report.wrong == {"core 1": ["heat/0"]}
    assert not report.ok
    assert judge({"core 0": good, "core 1": good}, 1.0).ok
    torn = {**good, "heat/0": [1, 1]}
    assert judge({"core 0": good, "core 1": torn}, 1.0).undecided == ["heat/0"]

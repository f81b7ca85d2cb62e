import torch

from opendojo.guard.fingerprint import fingerprint, quick_fingerprint


def test_every_bit_at_every_place_counts():
    x = torch.randn(300, 7)
    for hashed in (fingerprint, quick_fingerprint):
        assert hashed(x) == hashed(x.clone())
        words = x.view(torch.int32)
        for place, bit in ((0, 0), (5, 31), (2099, 31), (2098, 7), (1000, 30)):
            words.view(-1)[place] ^= -(2**31) if bit == 31 else 1 << bit
            assert hashed(x) != hashed(torch.zeros(0)) and hashed(x) != hashed(-x)
            harmed = hashed(x)
            words.view(-1)[place] ^= -(2**31) if bit == 31 else 1 << bit
            assert hashed(x) != harmed


def test_pairs_of_signs_and_permutations_do_not_cancel():
    x = torch.rand(70000, 4) + 0.5
    right = fingerprint(x)
    flipped = x.clone()
    flipped[1, 1] *= -1
    flipped[40000, 3] *= -1
    assert fingerprint(flipped) != right
    assert fingerprint(x.flip(0)) != right
    assert fingerprint(torch.cat([x[35000:], x[:35000]])) != right


def test_odd_sizes_dtypes_and_strides():
    for dtype in (torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64):
        for count in (0, 1, 3, 9, 4097):
            x = torch.arange(count).to(dtype)
            assert fingerprint(x) == fingerprint(x.clone())
            if count:
                assert fingerprint(x[1:]) == fingerprint(x[1:].clone())
                y = x.clone()
                y[-1] = 7
                assert fingerprint(y) != fingerprint(x)
                assert quick_fingerprint(y) != quick_fingerprint(x)
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert fingerprint(last) == fingerprint(last.clone())

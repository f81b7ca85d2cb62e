import pytest
import torch

from opendojo.guard import digest


def state():
    g = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(3, 5, generator=g),
        "half": torch.randn(4, generator=g).bfloat16(),
        "mask": torch.tensor([True, False]),
        "optimizer": {
            0: {"step": torch.tensor(3.0)},
            "groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}],
        },
    }


def test_equal_states_have_equal_digests_whatever_their_layout():
    one, two = state(), dict(reversed(state().items()))
    two["weight"] = two["weight"].t().contiguous().t()
    assert digest(one) == digest(two)
    assert len(digest(one)) == 64


@pytest.mark.parametrize("name", ["weight", "half"])
def test_every_single_flipped_bit_is_seen(name):
    clean = state()
    seen = {digest(clean)}
    words = clean[name].view(-1).view(torch.uint8)
    for byte in range(len(words)):
        for bit in range(8):
            words[byte] ^= 1 << bit
            seen.add(digest(clean))
            words[byte] ^= 1 << bit
    assert len(seen) == 1 + 8 * len(words)


def change(state, name, value):
    return {**state, name: value}


def test_place_shape_type_name_and_plain_values_count():
    clean = state()
    weight = clean["weight"]
    renamed = {**clean, "height": weight}
    del renamed["weight"]
    others = [
        change(clean, "weight", weight.flip(0)),
        change(clean, "weight", weight.reshape(5, 3)),
        change(clean, "weight", weight.view(torch.int32)),
        change(clean, "mask", torch.tensor([False, True])),
        change(clean, "optimizer", {**clean["optimizer"], "groups": [{"lr": 2e-3}]}),
        change(clean, "optimizer", None),
        renamed,
    ]
    digests = [digest(clean), *map(digest, others)]
    assert len(set(digests)) == len(digests)
    assert digest(torch.tensor(0.0)) != digest(torch.tensor(-0.0))
    assert digest(["a", "bc"]) != digest(["ab", "c"])
    assert digest(1) != digest(True) != digest("True")


def test_an_unknown_leaf_is_refused():
    with pytest.raises(TypeError, match="object"):
        digest({"a": object()})

"""Traces against counts by hand, PyTorch's own counter and memory of real steps."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from opendojo.machine.workload_file import read_workload, write_workload
from opendojo.model import SIZES, DrivingNet, Motion, NetConfig, cost, load_workload, trace

ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACK = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def counter_of():
    """PyTorch's counter, told of the processor's attention, which it does not know."""
    rules = {
        ATTENTION: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        BACK: lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(g, q, k, v),
    }
    return FlopCounterMode(display=False, custom_mapping=rules)


PRODUCTS = ("matmul", "conv", "attention")


class Mixed(nn.Module):
    """Convolutions of every kind, a lookup, a bent grid, attention, norms and pools."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.volume = nn.Conv3d(1, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x, ids, grid):
        x = self.volume(x[:, None]).mean(2)
        x = F.relu(self.norm(self.up(self.grouped(x))))
        x = F.max_pool2d(F.grid_sample(x, grid, align_corners=False), 2)
        tokens = x.flatten(2).transpose(1, 2) + self.table(ids)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        some = tokens[:, torch.arange(0, tokens.shape[1], 2)]
        return torch.einsum("btd,bsd->bts", some, some).softmax(-1).sum() + self.last(some).sum()


def mixed(b=2):
    g = torch.Generator().manual_seed(0)
    return (torch.rand(b, 3, 8, 8, generator=g), torch.randint(0, 50, (b, 16), generator=g),
            torch.rand(b, 8, 8, 2, generator=g) * 2 - 1)  # fmt: skip


class Moe(nn.Module):
    """Two of four experts, all tokens to places of a fixed number."""

    def __init__(self, d=16, e=4) -> None:
        super().__init__()
        self.gate = nn.Linear(d, e)
        self.up = nn.Parameter(torch.randn(e, d, 2 * d))
        self.down = nn.Parameter(torch.randn(e, 2 * d, d))

    def forward(self, x):
        rows = x.flatten(0, 1)
        weight, chosen = self.gate(rows).softmax(-1).topk(len(rows) // 2, 0)
        taken = rows[chosen.t()]
        made = torch.bmm(F.gelu(torch.bmm(taken, self.up)), self.down) * weight.t()[..., None]
        return torch.zeros_like(rows).index_add(0, chosen.t().flatten(), made.flatten(0, 1))


def counted(module, inputs, **named):
    """Operations that PyTorch counts on a real step, forward and backward."""
    with counter_of() as forward:
        out = module(*inputs, **named)
    out = out if isinstance(out, torch.Tensor) else out[0]
    with counter_of() as backward:
        out.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def products(workload, phase):
    return sum(o.flops for o in workload.operators if o.phase == phase and o.kind in PRODUCTS)


def kept(run, module):
    """Bytes of distinct storages that a real forward pass keeps, without weights."""
    weights = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    found = {}

    def keep(tensor):
        found[tensor.untyped_storage()._cdata] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        run()
    return sum(size for place, (size, _) in found.items() if place not in weights)


# PyTorch's counter forgets the groups where it counts the gradient of a grouped weight: by hand,
# two pictures, 2 groups of [16 places, 18 to 4] and 4 groups of [16 places, 2 to 32].
TOO_MANY = 2 * ((2 - 1) * 2 * 2 * 16 * 18 * 4 + (4 - 1) * 4 * 2 * 16 * 2 * 32)


@pytest.mark.parametrize(
    ("make", "too_many"),
    [(lambda: (Mixed(), mixed()), TOO_MANY), (lambda: (Moe(), (torch.rand(2, 8, 16),)), 0)],
)
def test_products_and_memory_agree_with_a_real_step(make, too_many):
    module, inputs = make()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    workload = trace(module, inputs)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), f"the trace changed {name}"
    forward, backward = counted(module, inputs)
    assert 2 * products(workload, "forward") == forward
    assert 2 * products(workload, "backward") == backward - too_many
    assert 2 * workload.activation_bytes == kept(lambda: module(*inputs), module)
    assert workload.parameters == sum(p.numel() for p in module.parameters())


def test_counts_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(128, 5))
    workload = trace(net, torch.zeros(6, 3, 4, 4))
    conv, linear = 2 * 16 * 27 * 8, 2 * 128 * 5
    assert products(workload, "forward") == conv + linear
    # the first convolution's input needs no gradient
    assert products(workload, "backward") == pytest.approx(conv + 2 * linear)
    first = next(o for o in workload.operators if o.kind == "conv" and o.phase == "forward")
    assert (first.name, first.m, first.n, first.k, first.grows) == ("0", 16, 8, 27, "m")
    assert (first.read_bytes, first.written_bytes) == (4 * 48, 4 * 128)
    assert first.weight_bytes == 4 * 8 * 27
    made = next(o for o in workload.operators if o.kind == "conv" and o.phase == "backward")
    assert (made.name, made.m, made.n, made.k, made.grows) == ("0", 27, 8, 16, "k")
    assert (made.written_bytes, made.weight_bytes) == (0, 4 * 8 * 27)
    (weight, *_) = [o for o in workload.operators if o.phase == "optimizer"]
    assert (weight.name, weight.read_bytes, weight.batched) == ("0.weight", 16 * 216, False)
    # kept: the pictures, the flat map (one storage with the convolution's output)
    assert workload.activation_bytes == 4 * (48 + 128)


def test_a_samples_work_does_not_depend_on_the_batch_traced():
    module = Mixed()
    one, four = trace(module, mixed(2)), trace(module, mixed(8))
    for phase in ("forward", "backward"):
        assert products(one, phase) == pytest.approx(products(four, phase))
        moved = [sum(o.read_bytes for o in w.operators if o.phase == phase) for w in (one, four)]
        assert moved[0] == pytest.approx(moved[1], rel=0.03)
        still = [sum(o.weight_bytes for o in w.operators if o.phase == phase) for w in (one, four)]
        assert still[0] == pytest.approx(still[1], rel=0.03)


@pytest.mark.parametrize(
    "size",
    [s if s in ("nano", "large") else pytest.param(s, marks=pytest.mark.slow) for s in SIZES],
)
def test_driving_networks_in_seconds(size):
    began_s = time.perf_counter()
    workload = load_workload(size, precision="fp32")
    assert time.perf_counter() - began_s < 60  # some four seconds on a free core
    found = cost(NetConfig(size=size))
    frame = workload.samples_unit
    assert frame == 24 and workload.parameters == found.parameters
    assert products(workload, "forward") / frame == pytest.approx(
        found.flops_per_frame + found.beside_flops_per_frame, rel=0.06
    )  # sub-scores speak in the trace
    assert workload.activation_bytes / frame == pytest.approx(
        found.activation_bytes_per_frame, rel=0.2
    )


def test_nanos_real_step():
    network = DrivingNet(NetConfig()).eval()
    nn.init.normal_(network.plan_head.worth.weight)  # else sub-scores are left out
    frames = torch.zeros(1, 8, 3, 6, 32, 64, dtype=torch.uint8)
    given = (frames, torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, 16),
             Motion.of(torch.zeros(1, 8)))  # fmt: skip
    workload = trace(network, given, answer=True, loss=lambda out: out.path_m.sum())
    with counter_of() as counter:
        out = network(*given)
    assert products(workload, "forward") == counter.get_total_flops()
    with counter_of() as counter:
        out.path_m.sum().backward()
    assert products(workload, "backward") == counter.get_total_flops()


def test_half_precision_is_seen():
    workload = trace(nn.Linear(64, 64), torch.zeros(8, 64), precision="bf16")
    formats = {o.format for o in workload.operators if o.kind == "matmul"}
    assert formats == {"bf16"}
    assert any(not o.batched and o.kind == "copy" for o in workload.operators), "weights are cast"
    eight = trace(nn.Linear(64, 64), torch.zeros(8, 64), precision="fp8")
    assert {o.format for o in eight.operators if o.kind == "matmul"} == {"fp8"}


def test_saved_and_loaded(tmp_path):
    workload = trace(Mixed(), mixed(), name="mixed")
    write_workload(tmp_path / "w.json", workload)
    assert read_workload(tmp_path / "w.json") == workload
    assert load_workload(tmp_path / "w.json") == workload
    (tmp_path / "bad.json").write_text((tmp_path / "w.json").read_text().replace('"kind"', '"knd"'))
    with pytest.raises(ValueError, match="did you mean 'kind'"):
        read_workload(tmp_path / "bad.json")


def test_own_factories_and_wrong_names(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Linear(4, 2), torch.zeros(3, 4)\n"
        "def wrong():\n    return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_workload("own_nets:make").parameters == 10
    for word, said in (("own_nets:wrong", "must return"), ("own_nets:absent", "absent"),
                       ("huge", "give a size")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            load_workload(word)


class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        y = self.inner(x)
        return y[y[:, 0] > 0] if x.shape[1] > 4 else (y if (y > 0).any() else -y)


def test_what_depends_on_values_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"test_trace.py:\d+\).*torch.where") as caught:
        trace(Asks(), torch.zeros(2, 4))
    assert "\n" not in str(caught.value)
    assert trace(Asks(), torch.zeros(2, 4), answer=True).operators
    wide = Asks()
    wide.inner = nn.Linear(8, 8)
    with pytest.raises(ValueError, match="asks for values"):
        trace(wide, torch.zeros(2, 8), answer=True)
    with pytest.raises(ValueError, match="has a gradient"):
        trace(nn.ReLU(), torch.zeros(2, 4))


def hugging_face(kind):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=512,
                                         n_positions=64)  # fmt: skip
        return transformers.GPT2LMHeadModel(config), {"input_ids": torch.zeros(2, 32).long()}
    if kind == "videomae":
        config = transformers.VideoMAEConfig(
            image_size=32, num_frames=4, hidden_size=48, num_hidden_layers=2,
            num_attention_heads=4, intermediate_size=96,
        )  # fmt: skip
        model = transformers.VideoMAEForVideoClassification(config)
        return model, {"pixel_values": torch.rand(2, 4, 3, 32, 32)}
    config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 48, 64],
                                       depths=[1, 1, 1, 1])  # fmt: skip
    return transformers.ResNetForImageClassification(config), {
        "pixel_values": torch.rand(2, 3, 64, 64)
    }


@pytest.mark.parametrize("kind", ["gpt2", "videomae", "resnet"])
def test_networks_of_transformers(kind):
    module, inputs = hugging_face(kind)
    module.train()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    workload = trace(module, inputs, loss=lambda out: out.logits.sum())
    with counter_of() as counter:
        out = module(**inputs)
    assert 2 * products(workload, "forward") == counter.get_total_flops()
    with counter_of() as counter:
        out.logits.sum().backward()
    assert 2 * products(workload, "backward") == counter.get_total_flops()
    real = kept(lambda: module(**inputs).logits.sum(), module)
    assert 2 * workload.activation_bytes == pytest.approx(real, rel=0.01)
    assert workload.layers > 1 or kind == "resnet"


def test_a_module_at_two_paths_is_left_as_it_was():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.two = nn.ModuleDict({"same": self.one, "norm": nn.BatchNorm1d(4)})

        def forward(self, x):
            return self.two["norm"](self.two["same"](self.one(x)))

    net = Twice()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    traced = trace(net, torch.randn(8, 4))
    assert traced.parameters == 4 * 4 + 4 + 2 * 4
    assert sum(o.flops for o in traced.operators if o.m and o.phase == "forward") == 2 * 2 * 16
    for name, value in net.state_dict().items():
        assert type(value) is torch.Tensor, name
        assert torch.equal(value, before[name]), name
    assert type(net(torch.randn(8, 4))) is torch.Tensor

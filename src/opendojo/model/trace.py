"""What a step of any network asks of a machine, found without running it and without the machine.

    with torch.device("meta"):
        network = torchvision_like()
    workload = trace(network, (torch.zeros(4, 3, 224, 224, device="meta"),))
    workload.flops("forward")       # of one sample

The network runs on tensors that have shapes but no values (PyTorch's `FakeTensorMode`); every
operator that would reach the machine is noted, forward and backward, with the module that it
belongs to. A node of the backward pass belongs to the module whose forward call made it: both carry
the same sequence number. The optimizer is added by its formula, for it reads and writes each
parameter once.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from opendojo.machine.workload import Operator, Phase, Workload
from opendojo.model.trace_ops import Product, kind_of, products_of, simple_flops

__all__ = ["OptimizerName", "Precision", "trace"]

Precision = Literal["bf16", "fp16", "fp32", "fp8", "tf32"]
OptimizerName = Literal["adamw", "none", "sgd", "sgd_momentum"]

# Read bytes, written bytes, operations of each parameter, averages and gradients in fp32.
_OPTIMIZERS: dict[str, tuple[float, float, float]] = {
    "adamw": (16.0, 12.0, 14.0), "sgd_momentum": (12.0, 8.0, 4.0), "sgd": (8.0, 4.0, 2.0),
}  # fmt: skip
_FORMATS = {
    torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16",
    torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8",
}  # fmt: skip
_IDLE = frozenset({
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view",
    "_reshape_alias", "detach", "lift_fresh", "set_", "resize_", "is_same_size", "_assert_async",
    "_assert_scalar", "_local_scalar_dense", "record_stream", "_assert_tensor_metadata",
    "sym_size", "sym_numel", "sym_stride", "is_nonzero",
})  # fmt: skip
"""Calls that start no work."""


def trace(
    module: nn.Module, inputs: Any, *, optimizer: OptimizerName = "adamw",
    precision: Precision = "fp32", backward: bool = True, batch: int | None = None,
    name: str | None = None, loss: Callable[[Any], Tensor] | None = None, sample: str = "sample",
    samples_unit: float = 1.0, active_parameters: int | None = None, answer: bool | None = None,
) -> Workload:  # fmt: skip
    """The operators of one training step of a network, of one sample.

    `inputs` is a tuple of arguments, a dict of named ones, or one argument; tensors in it (on any
    device, meta too, and within dataclasses) give shapes alone. `batch` is how many samples they
    hold, the first length of the first tensor by default; flops and bytes are divided by it.
    `precision` other than fp32 and tf32 runs products under autocast as training would; fp8 is bf16
    whose products are called fp8. Without `loss`, all floating outputs get a gradient. With
    `backward` False it is a forward pass alone, without an optimizer. `answer` is what a question
    about values is told, such as `if mask.all():`; without it such a question is an error.

    The network is left as it was. Raises `ValueError` where its control flow or its shapes depend
    on values, which a trace does not have; it names the place and what to do.
    """
    _check(optimizer, precision)
    recorder = _Recorder(precision, answer)
    with ExitStack() as stack:
        mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        made = _fakes(module, mode, backward)
        recorder.hold(made.values())
        args, named = _arguments(inputs, mode)
        size = batch or _batch_of((args, named))
        stack.enter_context(_hooked(module, recorder))
        stack.enter_context(_told(recorder))
        if precision in ("bf16", "fp16", "fp8"):
            dtype = torch.float16 if precision == "fp16" else torch.bfloat16
            stack.enter_context(torch.autocast("cpu", dtype=dtype))
        _step(module, made, (args, named), recorder, loss, backward)
    recorder.scale(size)
    operators = recorder.operators
    distinct = {id(p): (n, p) for n, p in module.named_parameters()}.values()
    if backward:
        operators += _optimizer(optimizer, [(n, p) for n, p in distinct if p.requires_grad])
    count = sum(p.numel() for _, p in distinct)
    kept = recorder.kept_by_module()
    return Workload(
        name=name or type(module).__name__,
        operators=tuple(operators),
        parameters=count,
        active_parameters=count if active_parameters is None else active_parameters,
        activation_bytes=sum(kept.values()) / size,
        largest_activation_bytes=recorder.largest_bytes / size,
        layers=_layers(module),
        sample=sample,
        samples_unit=samples_unit,
        kept_by_module=tuple((path, bytes_ / size) for path, bytes_ in kept.items()),
        facts=(("traced_batch", float(size)), *recorder.calls.items()),
    )


def _check(optimizer: str, precision: str) -> None:
    for word, known, what in (
        (optimizer, get_args(OptimizerName), "optimizer"),
        (precision, get_args(Precision), "precision"),
    ):
        if word not in known:
            raise ValueError(f"{what} {word!r}: choose one of {', '.join(known)}")


def _fakes(module: nn.Module, mode: FakeTensorMode, backward: bool) -> dict[str, Tensor]:
    """Parameters and buffers without values, by name; shared ones stay shared."""
    seen: dict[int, Tensor] = {}
    found: dict[str, Tensor] = {}
    # Each module once, or a module that stands at two paths would be put back as the stand-in.
    for path, part in module.named_modules():
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is None:
                continue
            if id(tensor) not in seen:
                fake = _fake(tensor, mode)
                fake.requires_grad_(tensor.requires_grad and backward)
                seen[id(tensor)] = fake
            found[f"{path}.{name}" if path else name] = seen[id(tensor)]
    return found


def _fake(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    with mode:
        return torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu"
        )  # fmt: skip


def _arguments(inputs: Any, mode: FakeTensorMode) -> tuple[tuple[Any, ...], dict[str, Any]]:
    faked = _mapped(inputs, mode)
    if isinstance(inputs, Mapping):
        return (), dict(faked)
    return (faked if isinstance(inputs, tuple) else (faked,)), {}


def _mapped(value: Any, mode: FakeTensorMode) -> Any:
    """The same structure with tensors that have no values."""
    if isinstance(value, Tensor):
        return _fake(value, mode)
    if isinstance(value, Mapping):
        return {key: _mapped(one, mode) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        made = [_mapped(one, mode) for one in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        twin = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(twin, field.name, _mapped(getattr(value, field.name), mode))
        return twin
    return value


def _tensors(value: Any) -> list[Tensor]:
    """All tensors of outputs, those of dataclasses too."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for one in value.values() for t in _tensors(one)]
    if isinstance(value, (tuple, list)):
        return [t for one in value for t in _tensors(one)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [t for f in dataclasses.fields(value) for t in _tensors(getattr(value, f.name))]
    return []


def _batch_of(arguments: Any) -> int:
    for tensor in _tensors(arguments):
        if tensor.dim():
            return max(1, tensor.shape[0])
    raise ValueError("the inputs hold no tensor with a length: give trace(batch=...)")


def _step(
    module: nn.Module, made: dict[str, Tensor], arguments: tuple[tuple[Any, ...], dict[str, Any]],
    recorder: _Recorder, loss: Callable[[Any], Tensor] | None, backward: bool,
) -> None:  # fmt: skip
    """Forward, then backward from the loss, or from all outputs that have a gradient."""
    args, named = arguments
    saved = torch.autograd.graph.saved_tensors_hooks(recorder.keep, lambda tensor: tensor)
    with torch.set_grad_enabled(backward), saved, recorder:
        output = torch.func.functional_call(module, made, args, named, tie_weights=False)
        if loss is not None:
            output = loss(output)
    if not backward:
        return
    ends = [t for t in _tensors(output) if t.requires_grad]
    if not ends:
        raise ValueError(
            f"no output of {type(module).__name__} has a gradient: trace it with backward=False, or"
            " give it parameters that learn"
        )
    starts = [torch.ones_like(t) for t in ends]
    recorder.hold(())
    recorder.phase = "backward"
    with recorder:
        torch.autograd.backward(ends, starts)


@contextmanager
def _hooked(module: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Keep the path of the module that is at work."""
    handles: list[Any] = []
    for path, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(lambda *_, path=path: recorder.enter(path)))
        handles.append(part.register_forward_hook(lambda *_: _leave(recorder), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leave(recorder: _Recorder) -> None:
    recorder.stack.pop()


@contextmanager
def _told(recorder: _Recorder) -> Iterator[None]:
    """Turn what only values could decide into one sentence."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(
            f"{recorder.failed or 'the network'} asks for values, which a trace does not have "
            f"({error.func}, {_place(error)}): decide by shapes or by torch.where instead, trace "
            "the parts before and after it, or, for a yes-or-no question, use trace(answer=True)"
        ) from error
    except UnsupportedFakeTensorException as error:
        raise ValueError(
            f"{recorder.failed or 'the network'} uses what has no shape rule ({error}): give the "
            "operator a fake implementation (torch.library.register_fake)"
        ) from error


def _place(error: BaseException) -> str:
    """File and line of the network's own code that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/torch/" not in f.filename and f.filename != __file__]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "place unknown"


class _Recorder(TorchDispatchMode):
    """Notes every operator that would reach the machine."""

    def __init__(self, precision: Precision, answer: bool | None) -> None:
        super().__init__()
        self.answer = answer
        self.precision = precision
        self.operators: list[Operator] = []
        self.stack: list[str] = []
        self.phase: Phase = "forward"
        self.largest_bytes = 0.0
        self.failed = ""
        self.calls = {"modules": 0.0, "views_forward": 0.0, "views_backward": 0.0}
        self._paths: dict[int, str] = {}
        self._alive: dict[int, tuple[Any, bool]] = {}  # held, or an address would come twice
        self._weights: set[int] = set()
        self._shapes: set[tuple[int, ...]] = set()
        self._kept: dict[int, tuple[str, int]] = {}

    def hold(self, weights: Any) -> None:
        """Weights and buffers: what is made of them alone does not grow with the batch."""
        for tensor in weights:
            place = self._note(tensor, moves=False)
            self._weights.add(place)
            if tensor.dim() > 1:
                self._shapes.add(tuple(sorted(tensor.shape)))

    def enter(self, path: str) -> None:
        """A module is called."""
        self.stack.append(path)
        self.calls["modules"] += 1

    def keep(self, tensor: Tensor) -> Tensor:
        """A tensor that the backward pass needs."""
        storage = tensor.untyped_storage()
        place = storage._cdata
        self._alive.setdefault(place, (storage, True))
        if place not in self._weights and place not in self._kept:
            self._kept[place] = (self._path(), storage.nbytes())
        return tensor

    def kept_by_module(self) -> dict[str, float]:
        """Bytes kept for the backward pass by the module that keeps them first."""
        found: dict[str, float] = {}
        for path, bytes_ in self._kept.values():
            found[path] = found.get(path, 0.0) + bytes_
        return found

    def scale(self, batch: int) -> None:
        """From the batch that was traced to one sample."""
        self.operators = [_per_sample(o, batch) if o.batched else o for o in self.operators]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.split("::")[-1]
        asked = name == "_local_scalar_dense" and args[0].dtype == torch.bool
        if asked and self.answer is not None:
            return self.answer
        try:
            out = func(*args, **(kwargs or {}))
        except Exception:
            self.failed = self.failed or self._path() or "the network"
            raise
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        moves = any(self._moves(t) for t in given)
        for tensor in made:
            self._note(tensor, moves)
        if made and _is_view(func) and name != "detach":
            self.calls[f"views_{self.phase}"] += 1
        elif made and name not in _IDLE and not _is_view(func):
            self._record(name, func, args, given, out, made, moves)
        return out

    def _record(
        self, name: str, func: Any, args: Sequence[Any], given: list[Tensor], out: Any,
        made: list[Tensor], moves: bool,
    ) -> None:  # fmt: skip
        path = self._path()
        if self.phase == "forward":
            self._paths[_sequence_number()] = path
            self.largest_bytes = max(self.largest_bytes, *(_bytes(t) for t in made))
        kind = kind_of(name)
        outputs = list(out) if isinstance(out, (tuple, list)) else [out]
        products = products_of(name, args, outputs, self._moves, self._is_gradient)
        common: dict[str, Any] = {
            "name": path, "kind": kind, "phase": self.phase, "batched": moves,
            "op": f"{func.namespace}.{name}", "format": self._format(made, given, kind),
            "layout": _layout(kind, given, made),
        }  # fmt: skip
        if not products:
            flops = simple_flops(kind, given, made)
            self.operators.append(Operator(flops=flops, **self._traffic(given, made), **common))
            return
        for one in products:
            read, written = given, made
            if one.part and name == "convolution_backward":
                grad, x, weight = args[:3]
                read = [grad, weight] if one.part == "input" else [grad, x]
                written = [t for t in (outputs[:1] if one.part == "input" else outputs[1:])
                           if t is not None]  # fmt: skip
            traffic = self._traffic(read, written, gradient=one.part == "weight")
            self.operators.append(Operator(**_shape(one), **traffic, **common))

    def _traffic(
        self, given: list[Tensor], made: list[Tensor], gradient: bool = False
    ) -> dict[str, float]:
        distinct = {t.untyped_storage()._cdata: t for t in given}.values()
        still = sum(_bytes(t) for t in distinct if not self._moves(t))
        written = sum(_bytes(t) for t in made)
        return {
            "read_bytes": sum(_bytes(t) for t in distinct if self._moves(t)),
            "written_bytes": 0.0 if gradient else written,
            "weight_bytes": still + (written if gradient else 0.0),
        }

    def _format(self, made: list[Tensor], given: list[Tensor], kind: str) -> str:
        found = next((_FORMATS[t.dtype] for t in (*made, *given) if t.dtype in _FORMATS), "int8")
        if kind in ("matmul", "conv", "attention"):
            if self.precision == "fp8" and found == "bf16" and kind != "attention":
                return "fp8"
            if self.precision == "tf32" and found == "fp32":
                return "tf32"
        return found

    def _note(self, tensor: Tensor, moves: bool) -> int:
        storage = tensor.untyped_storage()
        place = storage._cdata
        before = self._alive.get(place)
        self._alive[place] = (storage, moves or (before is not None and before[1]))
        return place

    def _moves(self, tensor: Tensor) -> bool:
        found = self._alive.get(tensor.untyped_storage()._cdata)
        return found is None or found[1]

    def _is_gradient(self, tensor: Tensor) -> bool:
        """Whether it has the shape of a weight, turned in any way."""
        return self.phase == "backward" and tuple(sorted(tensor.shape)) in self._shapes

    def _path(self) -> str:
        if self.phase == "backward":
            node = torch._C._current_autograd_node()
            path = None if node is None else self._paths.get(node._sequence_nr())
            if path is not None:
                return path
        return self.stack[-1] if self.stack else ""


def _sequence_number() -> int:
    """Of the backward pass's newest node: autograd makes it before the operator is called."""
    return torch._C._autograd._get_sequence_nr() - 1  # pyright: ignore[reportAttributeAccessIssue]


def _layout(kind: str, given: list[Tensor], made: list[Tensor]) -> str:
    """How its tensors lie, where that is not row by row and what it costs depends on it."""
    first = next((t for t in given if t.dim() >= 4), None)
    if kind in ("conv", "norm", "reduce", "gather"):
        form = torch.channels_last if first is not None and first.dim() == 4 else None
        last = first is not None and form is not None and first.is_contiguous(memory_format=form)
        return "channels_last" if last and first is not None and not first.is_contiguous() else ""
    if kind not in ("copy", "elementwise"):
        return ""
    out = made[0]
    alike = [t for t in given if t.shape == out.shape and 0 not in t.stride() and out.numel() > 1]
    return "strided" if any(t.stride() != out.stride() for t in alike) else ""


def _is_view(func: Any) -> bool:
    aliases = [r.alias_info for r in func._schema.returns]
    return any(a is not None and not a.is_write for a in aliases)


def _bytes(tensor: Tensor) -> float:
    """What is touched of it: an expanded tensor is no longer than what lies behind it."""
    size = tensor.numel() * tensor.element_size()
    return float(min(size, tensor.untyped_storage().nbytes()))


def _shape(one: Product) -> dict[str, Any]:
    return {"m": one.m, "n": one.n, "k": one.k, "products": one.count, "grows": one.grows,
            "flops": one.work}  # fmt: skip


def _per_sample(operator: Operator, batch: int) -> Operator:
    sizes = {name: getattr(operator, name) / batch
             for name in ("flops", "read_bytes", "written_bytes")}  # fmt: skip
    if operator.m:
        long = getattr(operator, operator.grows)
        sizes[operator.grows] = max(1, math.ceil(long / batch))
    return dataclasses.replace(operator, **sizes)


def _optimizer(name: str, parameters: list[tuple[str, nn.Parameter]]) -> list[Operator]:
    if name == "none":
        return []
    read, written, flops = _OPTIMIZERS[name]
    return [
        Operator(
            name=path, kind="elementwise", phase="optimizer", batched=False, format="fp32",
            flops=flops * p.numel(), read_bytes=read * p.numel(), written_bytes=written * p.numel(),
            op=f"optimizer.{name}",
        )
        for path, p in parameters
    ]  # fmt: skip


def _layers(module: nn.Module) -> int:
    """The most children of one class in one list: blocks that a pipeline may be cut between."""
    most = 1
    for part in module.modules():
        if isinstance(part, (nn.ModuleList, nn.Sequential)):
            kinds = [type(child) for child in part]
            most = max(most, *(kinds.count(kind) for kind in set(kinds)), 1)
    return most

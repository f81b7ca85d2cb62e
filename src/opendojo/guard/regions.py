"""Products inside compiled regions: a pass over the compiler's graph has each of them looked at.

Inductor's last graph pass puts a call of `opendojo_guard::seen` behind every product. The call is
given the product's result and its arguments and hands them to the mode that is watching; where none
is, it does nothing. The products stay the operators that they were, laid out and called as without
the guard, so that no bit changes. What the compiler fuses between products is not looked at.

    with seen_regions():
        model.compile(); ...            # every graph that is compiled in here can be watched
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import has_side_effect
from torch.utils import _pytree as pytree

from opendojo.guard.plan import is_product

__all__ = ["seeing", "seen_regions"]


@dataclass(frozen=True, slots=True)
class _Call:
    """A product of a compiled graph: how its arguments are put together again."""

    func: Any
    constants: list[Any]
    """Arguments in flat order; `_HERE` where a tensor goes."""
    spec: Any
    whole: bool
    """The result is one tensor, not several."""


_HERE = object()
_CALLS: list[_Call] = []
_WATCHING: list[Any] = []

_LIBRARY = torch.library.Library("opendojo_guard", "DEF")
_LIBRARY.define("seen(Tensor?[] results, Tensor?[] tensors, int call) -> ()")


def _seen(results: list[Tensor | None], tensors: list[Tensor | None], call: int) -> None:
    if not _WATCHING:
        return
    one, left = _CALLS[call], iter(tensors)
    flat = [next(left) if value is _HERE else value for value in one.constants]
    args, kwargs = pytree.tree_unflatten(flat, one.spec)
    _WATCHING[-1].saw(one.func, args, kwargs, results[0] if one.whole else tuple(results))


for _key in ("CPU", "CUDA", "XPU"):
    _LIBRARY.impl("seen", _seen, _key)
torch.library.register_fake("opendojo_guard::seen", lambda results, tensors, call: None)
_SEEN = torch.ops.opendojo_guard.seen.default
has_side_effect(_SEEN)


@contextlib.contextmanager
def seeing(mode: Any) -> Iterator[None]:
    """`mode.saw(func, args, kwargs, out)` is told of every product of watched regions."""
    _WATCHING.append(mode)
    try:
        yield
    finally:
        _WATCHING.pop()


@contextlib.contextmanager
def seen_regions() -> Iterator[None]:
    """What is compiled in here can be watched."""
    from torch._inductor import config  # the compiler takes its time to import
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class Looks(CustomGraphPass):
        def __call__(self, graph: fx.Graph) -> None:
            for node in list(graph.nodes):
                if node.op == "call_function" and is_product(node.target):
                    _look(graph, node)

        def uuid(self) -> None:
            """None: graphs are not kept for other processes, since `_CALLS` is this one's."""

    with config.patch(post_grad_custom_post_pass=Looks()):
        yield


def _look(graph: fx.Graph, node: fx.Node) -> None:
    """Put a look at a product behind it."""
    flat, spec = pytree.tree_flatten((node.args, node.kwargs))
    tensors = [one for one in flat if isinstance(one, fx.Node)]
    if not all(isinstance(one.meta.get("val"), Tensor) for one in tensors):
        return  # a size that is not known yet: the ledger misses its FLOPs, and says so
    constants = [_HERE if isinstance(one, fx.Node) else one for one in flat]
    value = node.meta["val"]
    whole = isinstance(value, Tensor)
    last, results = node, [node]
    if not whole:
        results = []
        for number, part in enumerate(value):
            got = next((u for u in node.users if u.target is operator.getitem
                        and u.args[1] == number), None)  # fmt: skip
            if got is None and isinstance(part, Tensor):
                with graph.inserting_after(node):
                    got = graph.call_function(operator.getitem, (node, number))
                got.meta["val"] = part
            results.append(got)
        last = max((r for r in results if r is not None), key=list(graph.nodes).index)
    _CALLS.append(_Call(node.target, constants, spec, whole))
    with graph.inserting_after(last):
        look = graph.call_function(_SEEN, (results, tensors, len(_CALLS) - 1))
    look.meta["val"] = None

"""The flywheel: a network keeps learning from the few clips that teach it something.

The present network is run beside the driver (shadow), what matters is found and thinned, labelled
with hindsight, trained on, and the new network takes over only where it drives better.

    findings = run_shadow(network, [store])
    chosen = select_windows(findings.columns["error_m"], findings.embedding, budget=100)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opendojo.flywheel.dedupe import Dedupe, DedupeConfig
    from opendojo.flywheel.findings import Findings
    from opendojo.flywheel.query import Query
    from opendojo.flywheel.select import random_choice, select_windows
    from opendojo.flywheel.shadow import ShadowConfig, run_shadow
    from opendojo.flywheel.triggers import TRIGGERS, quality, trigger_scores

__all__ = [
    "TRIGGERS",
    "Dedupe",
    "DedupeConfig",
    "Findings",
    "Query",
    "ShadowConfig",
    "quality",
    "random_choice",
    "run_shadow",
    "select_windows",
    "trigger_scores",
]

_FILES = {
    "TRIGGERS": "triggers",
    "Dedupe": "dedupe",
    "DedupeConfig": "dedupe",
    "Findings": "findings",
    "Query": "query",
    "ShadowConfig": "shadow",
    "quality": "triggers",
    "random_choice": "select",
    "run_shadow": "shadow",
    "select_windows": "select",
    "trigger_scores": "triggers",
}


def __getattr__(name: str) -> Any:
    """Names on first use (PEP 562): much of this room needs no torch."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)

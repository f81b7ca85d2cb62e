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
    from opendojo.flywheel.config import FlywheelConfig
    from opendojo.flywheel.dedupe import Dedupe, DedupeConfig
    from opendojo.flywheel.exam import ExamConfig, examine
    from opendojo.flywheel.findings import Findings
    from opendojo.flywheel.fleet import FleetConfig, record_drives
    from opendojo.flywheel.gate import GateConfig, Verdict, paired
    from opendojo.flywheel.label import PathLabel, checked, hindsight, physics
    from opendojo.flywheel.lesson import Lesson, LessonConfig, Lessons
    from opendojo.flywheel.mine import Choice, MineConfig, choose
    from opendojo.flywheel.query import Query
    from opendojo.flywheel.registry import Entry, Registry
    from opendojo.flywheel.run import run_flywheel
    from opendojo.flywheel.select import random_choice, select_windows
    from opendojo.flywheel.shadow import ShadowConfig, run_shadow
    from opendojo.flywheel.triggers import TRIGGERS, quality, trigger_scores

__all__ = [
    "TRIGGERS",
    "Choice",
    "Dedupe",
    "DedupeConfig",
    "Entry",
    "ExamConfig",
    "Findings",
    "FleetConfig",
    "FlywheelConfig",
    "GateConfig",
    "Lesson",
    "LessonConfig",
    "Lessons",
    "MineConfig",
    "PathLabel",
    "Query",
    "Registry",
    "ShadowConfig",
    "Verdict",
    "checked",
    "choose",
    "examine",
    "hindsight",
    "paired",
    "physics",
    "quality",
    "random_choice",
    "record_drives",
    "run_flywheel",
    "run_shadow",
    "select_windows",
    "trigger_scores",
]

_FILES = {
    "TRIGGERS": "triggers",
    "Choice": "mine",
    "Dedupe": "dedupe",
    "DedupeConfig": "dedupe",
    "Entry": "registry",
    "ExamConfig": "exam",
    "Findings": "findings",
    "FleetConfig": "fleet",
    "FlywheelConfig": "config",
    "GateConfig": "gate",
    "Lesson": "lesson",
    "LessonConfig": "lesson",
    "Lessons": "lesson",
    "MineConfig": "mine",
    "PathLabel": "label",
    "Query": "query",
    "Registry": "registry",
    "ShadowConfig": "shadow",
    "Verdict": "gate",
    "checked": "label",
    "choose": "mine",
    "examine": "exam",
    "hindsight": "label",
    "paired": "gate",
    "physics": "label",
    "quality": "triggers",
    "random_choice": "select",
    "record_drives": "fleet",
    "run_flywheel": "run",
    "run_shadow": "shadow",
    "select_windows": "select",
    "trigger_scores": "triggers",
}


def __getattr__(name: str) -> Any:
    """Names on first use (PEP 562): much of this room needs no torch."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)

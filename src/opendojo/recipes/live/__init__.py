"""Learning on the way: the network drives in the world, the expert says what it should have done.

source = LiveSource(run_dir / "live", LiveConfig(), times_s)
"""

from opendojo.recipes.live.source import LiveBatch, LiveConfig, LiveSource

__all__ = ["LiveBatch", "LiveConfig", "LiveSource"]

"""Write the hashes of the published lists of roads anew: python tests/evaluate/pin_scenes.py

To be run where the world was changed on purpose; figures made before do not compare with later
ones.
"""

from __future__ import annotations

import json

from opendojo.evaluate.scenes import PUBLISHED, SCENES, scene_hashes, together
from opendojo.world import World


def main() -> None:
    """A minute or two: about a hundred towns are built."""
    pins = {}
    for name, scenes in SCENES.items():
        flat = [seed for seeds in scenes.sets for seed in seeds]
        hashes = scene_hashes(World(flat, scenes.config))
        pins[name] = {"all": together(hashes), "first": hashes[flat[0]]}
        print(name, pins[name])
    PUBLISHED.write_text(json.dumps(pins, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

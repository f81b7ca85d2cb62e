"""Pictures of towns and traffic from any rig of cameras, and the truth about every pixel.

A picture is drawn in two stages: per image column the few boxes that it meets, then per pixel a
colour from its own ray, in planar I420; eager and compiled, on a CPU and on a GPU, from one source.

    renderer = Renderer(cameras, towns.atlas, draw_looks(seeds, "hard", device), seeds, device)
    frames = renderer.render(scene)      # uint8 [n, c, 3 h / 2, w]
    truth = renderer.labels(scene)       # class, depth and box of every pixel
"""

from opendojo.world.draw.look import Look, box_paints, draw_looks
from opendojo.world.draw.renderer import Renderer
from opendojo.world.draw.scene import Boxes, Kind, Labels, Scene

__all__ = [
    "Boxes",
    "Kind",
    "Labels",
    "Look",
    "Renderer",
    "Scene",
    "box_paints",
    "draw_looks",
]

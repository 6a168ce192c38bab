"""Pictures of a scene at given poses: colour, depth, segmentation. Knows no simulator."""

from sandbox.renderer.renderer import Picture, Renderer

__all__ = ["Picture", "Renderer"]

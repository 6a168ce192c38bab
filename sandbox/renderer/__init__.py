"""Render pictures of a scene at given poses (colour, depth, segmentation), without a simulator."""

from sandbox.renderer.renderer import Picture, Renderer

__all__ = ["Picture", "Renderer"]

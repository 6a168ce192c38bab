"""The environments of the content folder, importable as `sandbox.envs.<file>`."""

from sandbox import content

__path__ = [str(content.folder("envs"))]

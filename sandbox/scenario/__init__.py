"""What varies between episodes: factors, scenarios, cameras and disturbances."""

from sandbox.scenario.scenario import FORMAT, Scenario, load, with_values

__all__ = ["FORMAT", "Scenario", "load", "with_values"]

"""What varies between episodes: factors, the ranges that a scenario gives them, disturbances."""

from sandbox.scenario.scenario import FORMAT, Scenario, load, with_values

__all__ = ["FORMAT", "Scenario", "load", "with_values"]

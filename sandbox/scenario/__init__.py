"""What varies between episodes: factors, the ranges that a scenario gives them, disturbances."""

from sandbox.scenario.scenario import FORMAT, Scenario, load, settle

__all__ = ["FORMAT", "Scenario", "load", "settle"]

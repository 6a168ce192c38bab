"""What an environment declares its factors with, and groups of factors that many share."""

from sandbox.scenario.factors import Color, Factor, Factors, Integer, Uniform, Values

__all__ = ["Color", "Factors", "Integer", "Uniform", "Values", "handling", "looks"]


def looks(
    light_deg: float,
    camera_deg: tuple[float, float, float],
    light_range_deg: tuple[float, float] = (-180.0, 180.0),
) -> dict[str, Factor]:
    """Return the factors of the light and of the main camera's height.

    Args:
        light_deg: default direction that the light comes from, from +x.
        camera_deg: lowest, highest and default angle of the main camera above the horizon.
        light_range_deg: lowest and highest direction of the light.
    """
    return {
        "light_azimuth_deg": Uniform(
            *light_range_deg, light_deg, "deg", "direction that the light comes from"
        ),
        "light_color": Color("white", "colour of the light"),
        "light_ambient": Uniform(0.3, 0.8, 0.55, "1", "light in the shadows"),
        "camera_pitch_deg": Uniform(*camera_deg, "deg", "angle of the camera above the horizon"),
    }


def handling(delay_steps: int = 0, noise: float = 0.0) -> dict[str, Factor]:
    """Return the factors of how actions are applied: how late, and with how much noise.

    Args:
        delay_steps: longest delay; 0 leaves this factor out.
        noise: largest standard deviation; 0 leaves this factor out.
    """
    found: dict[str, Factor] = {}
    if delay_steps:
        meaning = "steps by which actions are delayed"
        found["action_delay_steps"] = Integer(0, delay_steps, 0, "1", meaning)
    if noise:
        meaning = "standard deviation of the noise on actions"
        found["action_noise"] = Uniform(0.0, noise, 0.0, "1", meaning)
    return found

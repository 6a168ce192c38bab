"""The algorithms of Stable-Baselines3: their settings, and the policies that they learn."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.models import policy
from sandbox.models.policy import Facts, Input, Layer, Policy

ALGORITHMS = ("A2C", "DDPG", "PPO", "SAC", "TD3")
SCALED = ("A2C", "PPO")  # The others keep old rows, which a scale that moves would change.
SIGMA = 0.1  # Of the noise on actions of DDPG and TD3, which explore by nothing else.
_OURS = (  # What `learn` gives itself, or what is no plain value.
    *("self", "policy", "env", "verbose", "seed", "device", "tensorboard_log", "_init_setup_model"),
    *("replay_buffer_class", "replay_buffer_kwargs", "rollout_buffer_class"),
    *("rollout_buffer_kwargs", "optimize_memory_usage", "stats_window_size"),
    *("policy_kwargs", "use_sde", "sde_sample_freq", "use_sde_at_warmup"),
)
_NETWORK = ("activation_fn", "net_arch")  # In policy_kwargs there.


def known(algorithm: str) -> list[str]:
    """Return the settings of an algorithm; UnknownNameError if there is no such algorithm."""
    if algorithm not in ALGORITHMS:
        raise UnknownNameError("algorithm", algorithm, ALGORITHMS)
    given = inspect.signature(getattr(stable_baselines3, algorithm).__init__).parameters
    return [*(name for name in given if name not in _OURS), *_NETWORK]


def checked(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the algorithm takes them, but for the noise on actions.

    Raises:
        UnknownNameError: there is no such algorithm, setting or activation.
    """
    names, found, network = known(algorithm), dict[str, Any](), dict[str, Any]()
    for name, value in settings.items():
        if name not in names:
            raise UnknownNameError("setting", name, names, where=algorithm)
        several = _several(value)
        if name == "net_arch":
            network[name] = several
        elif name == "activation_fn":
            if str(value) not in policy.ACTIVATIONS:
                raise UnknownNameError("activation", str(value), policy.ACTIVATIONS)
            network[name] = policy.ACTIVATIONS[str(value)]
        else:  # JSON has a list where Python has a pair, such as train_freq.
            found[name] = tuple(several) if isinstance(value, list) else value
    return found | ({"policy_kwargs": network} if network else {})


def _several(value: Any) -> list[Any]:
    """Return the values of a list, or the one that is none."""
    return cast(list[Any], value) if isinstance(value, list) else [value]


def made(algorithm: str, settings: Mapping[str, Any], envs: Any, seed: int) -> Any:
    """Return an algorithm that has learned nothing yet.

    Raises:
        InvalidInputError: a setting that the algorithm refuses.
    """
    given = dict(settings)
    kind: Callable[..., Any] = getattr(stable_baselines3, algorithm)
    try:
        if algorithm in ("DDPG", "TD3"):
            size = envs.action_space.shape or (1,)
            sigma = np.full(size, float(given.pop("action_noise", SIGMA)))
            given["action_noise"] = NormalActionNoise(np.zeros(size), sigma)
        return kind(_policy_name(envs), envs, seed=seed, device="cpu", verbose=0, **given)
    except Exception as error:  # Stable-Baselines3 asserts, and computes with what it is given.
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidInputError(f"{algorithm} does not take these settings: {said}") from error


def _policy_name(envs: Any) -> str:
    if isinstance(envs.observation_space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if len(envs.observation_space.shape or ()) == 3 else "MlpPolicy"


def learned(model: Any, scales: VecNormalize | None, facts: Mapping[str, Any]) -> Policy:
    """Return the policy that an algorithm has learned so far, as it acts without chance.

    Args:
        model: of Stable-Baselines3.
        scales: what scales its observations; None: nothing does.
        facts: those of `Facts` that say where it was learned and what it observes.

    Raises:
        InvalidInputError: its network has a layer that a file of ours does not describe.
    """
    inputs, weights = list[Input](), dict[str, Tensor]()
    acting = _acting(model)
    for name, shape, own in _observed(acting[0], model, facts["observation"]):
        layers, found = _described(own, f"{name}.")
        scaled = scales is not None and scales.norm_obs and len(shape) < 3
        if scaled:
            weights[f"{name}:scale"] = _scale(scales, name)
        inputs.append(Input(name=name, shape=shape, scaled=scaled, layers=layers))
        weights |= found
    layers, found = _described(nn.Sequential(*acting[1:]), "joined.")
    size = int(model.action_space.shape[0])
    said = Facts(**facts, action_size=size, inputs=inputs, layers=layers)
    kept = {name: one.detach().clone() for name, one in (weights | found).items()}
    return Policy(said, kept)


def _acting(model: Any) -> list[nn.Module]:
    """Return what extracts features, and the layers after it."""
    if hasattr(model.policy, "mlp_extractor"):
        own = model.policy
        return [own.pi_features_extractor, own.mlp_extractor.policy_net, own.action_net]
    actor = model.policy.actor
    if hasattr(actor, "latent_pi"):
        return [actor.features_extractor, actor.latent_pi, actor.mu, nn.Tanh()]
    return [actor.features_extractor, actor.mu]


def _observed(
    extractor: Any, model: Any, names: list[str]
) -> list[tuple[str, list[int], nn.Module]]:
    """Return each observation: its name, the shape of a row, and what extracts its features."""
    if hasattr(extractor, "extractors"):
        known = model.observation_space.spaces
        each = [(n, known[n], part) for n, part in extractor.extractors.items()]
    else:
        each = [(names[0], model.observation_space, extractor)]
    return [(name, _shape(space.shape), _plain(part)) for name, space, part in each]


def _shape(shape: tuple[int, ...]) -> list[int]:
    """Return the shape of a row as the world gives it: pictures with channels last."""
    return [*shape[1:], shape[0]] if len(shape) == 3 else [*shape]


def _plain(extractor: Any) -> nn.Module:
    """Return the layers that extract the features of one observation."""
    if hasattr(extractor, "cnn"):
        return nn.Sequential(extractor.cnn, extractor.linear)
    return nn.Sequential()  # Numbers, which are joined as they are.


def _described(network: nn.Module, prefix: str) -> tuple[list[Layer], dict[str, Tensor]]:
    found = policy.layers_of(network, prefix)
    if found is None:
        raise InvalidInputError(f"the policy's network has a layer of another kind: {network}.")
    return found


def _scale(scales: Any, name: str) -> Tensor:
    """Return mean and deviation of an observation, float64 (2, numbers)."""
    every: Any = scales.obs_rms
    seen = cast(Any, every[name] if isinstance(every, dict) else every)
    mean, deviation = np.asarray(seen.mean), np.sqrt(np.asarray(seen.var) + scales.epsilon)
    return torch.as_tensor(np.stack([mean, deviation]))

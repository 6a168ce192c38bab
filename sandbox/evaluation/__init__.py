"""What a world model predicts of episodes that it has not seen, beside what knows nothing."""

from sandbox.evaluation.evaluate import evaluate
from sandbox.evaluation.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]

"""What judges a completion. A scorer is its options: build it from its type and a mapping of them.

To add one: a file with a class that is a `Scorer`, and a line in the registry.
"""

from hikaku.scoring.registry import REGISTRY, build
from hikaku.scoring.verdicts import Scorer, Verdict

__all__ = ["REGISTRY", "Scorer", "Verdict", "build"]

"""Who speaks OpenAI's protocol besides OpenAI, and where each departs from it: data, no code.

Each departure is one its vendor documents. Where a server ignores a parameter in silence, the
parameter is refused here; where it refuses one itself, that is left to its own words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.types import JSON, EndpointType

_NOTHING: Mapping[str, JSON] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a server departs from OpenAI's own."""

    responses: bool = False
    """It has the Responses API."""
    lacks: frozenset[EndpointType] = frozenset()
    completes_by_chat: bool = False
    """It has no text completions; the prompt becomes the one message."""
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """OpenAI's name of a parameter -> its own for the very same meaning."""
    refused: frozenset[str] = frozenset()
    """What it would ignore or bend."""
    refused_by_model: Mapping[str, frozenset[str]] = field(
        default_factory=dict[str, frozenset[str]]
    )
    """Beginning of a model's name -> what that model would ignore."""
    unsaid: frozenset[str] = frozenset()
    """What is not sent, because the server does it anyway and does not know the parameter."""
    added: Mapping[str, JSON] = field(default_factory=lambda: _NOTHING)
    """What is sent besides; what a request says itself goes before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatible:
    """One vendor."""

    base_url: str | None
    needs_key: bool = True
    habits: Habits = field(default_factory=Habits)
    retired_models: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beginning of a model's name -> what stands in the place of it, which is withdrawn."""


_ONE_TOKEN_NAME = {"max_completion_tokens": "max_tokens"}
"""For servers with one limit, which counts all that is generated, under its older name."""
_CHAT_ONLY = frozenset({EndpointType.COMPLETIONS, EndpointType.EMBEDDINGS})
_NO_EMBEDDINGS = frozenset({EndpointType.EMBEDDINGS})
_USAGE_ALWAYS = frozenset({"stream_options"})

_TOGETHER = Compatible(
    base_url="https://api.together.xyz/v1", habits=Habits(renamed=_ONE_TOKEN_NAME)
)
_NIM = Compatible(
    base_url="https://integrate.api.nvidia.com/v1", habits=Habits(renamed=_ONE_TOKEN_NAME)
)
_HUGGING_FACE = Compatible(
    base_url="https://router.huggingface.co/v1",
    habits=Habits(lacks=_CHAT_ONLY, renamed=_ONE_TOKEN_NAME),
)

COMPATIBLE: Mapping[str, Compatible] = {
    "openai-compatible": Compatible(base_url=None, needs_key=False),
    "vllm": Compatible(
        base_url="http://localhost:8000/v1", needs_key=False, habits=Habits(responses=True)
    ),
    "sglang": Compatible(
        base_url="http://localhost:30000/v1", needs_key=False, habits=Habits(responses=True)
    ),
    "llama.cpp": Compatible(base_url="http://localhost:8080/v1", needs_key=False),
    "ollama": Compatible(
        base_url="http://localhost:11434/v1",
        needs_key=False,
        habits=Habits(
            responses=True,
            renamed=_ONE_TOKEN_NAME,
            refused=frozenset({"n", "best_of", "logit_bias", "tool_choice", "echo"}),
        ),
    ),
    "groq": Compatible(
        base_url="https://api.groq.com/openai/v1",
        habits=Habits(responses=True, lacks=_CHAT_ONLY),
    ),
    "togetherai": _TOGETHER,
    "together": _TOGETHER,
    "deepseek": Compatible(
        base_url="https://api.deepseek.com/v1",
        habits=Habits(
            lacks=_NO_EMBEDDINGS,
            renamed=_ONE_TOKEN_NAME,
            refused=frozenset({"n", "seed", "logit_bias", "parallel_tool_calls"}),
            refused_by_model={
                "deepseek-reasoner": frozenset(
                    {"temperature", "top_p", "presence_penalty", "frequency_penalty"}
                )
            },
        ),
    ),
    "xai": Compatible(
        base_url="https://api.x.ai/v1",
        habits=Habits(responses=True, refused=frozenset({"logit_bias"})),
    ),
    "openrouter": Compatible(
        base_url="https://openrouter.ai/api/v1",
        # Otherwise it routes to servers that ignore what they do not know.
        habits=Habits(responses=True, added={"provider": {"require_parameters": True}}),
    ),
    "mistral": Compatible(
        base_url="https://api.mistral.ai/v1",
        habits=Habits(
            completes_by_chat=True,
            renamed={**_ONE_TOKEN_NAME, "seed": "random_seed", "dimensions": "output_dimension"},
            unsaid=_USAGE_ALWAYS,
        ),
    ),
    "ai21labs": Compatible(
        base_url="https://api.ai21.com/studio/v1",
        retired_models={"j2-": "AI21 has withdrawn Jurassic-2: a Jamba model stands in its place"},
        habits=Habits(
            lacks=_NO_EMBEDDINGS,
            completes_by_chat=True,
            renamed=_ONE_TOKEN_NAME,
            refused=frozenset(
                {
                    "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs",
                    "top_logprobs", "tool_choice", "parallel_tool_calls",
                }
            ),
            unsaid=_USAGE_ALWAYS,
        ),
    ),
    "fireworks": Compatible(
        base_url="https://api.fireworks.ai/inference/v1", habits=Habits(responses=True)
    ),
    "perplexity": Compatible(
        base_url="https://api.perplexity.ai",
        habits=Habits(
            lacks=_CHAT_ONLY,
            renamed=_ONE_TOKEN_NAME,
            refused=frozenset(
                {
                    "n", "seed", "stop", "logit_bias", "logprobs", "top_logprobs", "tools",
                    "tool_choice", "parallel_tool_calls",
                }
            ),
        ),
    ),
    "cerebras": Compatible(
        base_url="https://api.cerebras.ai/v1",
        habits=Habits(
            lacks=_NO_EMBEDDINGS, renamed={"max_tokens": "max_completion_tokens"}
        ),
    ),
    "nvidia-nim": _NIM,
    "nvidia": _NIM,
    "huggingface": _HUGGING_FACE,
    "hf-inference-providers": _HUGGING_FACE,
}  # fmt: skip

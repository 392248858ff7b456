"""Every environment variable, typed. Read by the programs' `main.py` and handed on."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a process of Hikaku is told from outside."""

    model_config = SettingsConfigDict(env_prefix="HIKAKU_", extra="ignore", populate_by_name=True)

    database_url: str = "postgresql+psycopg://localhost/hikaku"
    """SQLAlchemy URL of the Postgres database; `postgresql://` is read as psycopg 3."""
    redis_url: str = "redis://localhost:6379/0"
    """Broker and limiter; `redis+socket:///path` for a Unix socket."""
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    """Where jobs are tracked; None turns tracking off."""
    mlflow_public_url: str | None = None
    """How browsers reach MLflow's pages, for links; None means at the tracking URI."""
    mlflow_experiment: str = "Hikaku"
    gateway_config: Path = Path("gateway.yaml")
    """The YAML of endpoints."""
    api_key: SecretStr | None = None
    """Bearer key demanded on every route when set; a bind outside loopback requires it."""
    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65535)
    public_url: str | None = None
    """How browsers reach the API, for links in MLflow; None means http://host:port."""
    spool_dir: Path = Path(".hikaku/spool")
    """Answers wait here, on local disk, until Postgres has them."""
    spool_segment_bytes: int = Field(default=8 * 2**20, ge=2**16)
    """About how large a file of the spool gets; smaller ones suit a small disk."""
    worker_slots: int = Field(default=8, ge=1, le=64)
    """Shards run at once in one worker process."""
    cells_in_flight: int = Field(default=400, ge=1, le=10_000)
    """Calls in flight at once in one worker process, over all its shards."""
    lease_seconds: float = Field(default=8.0, ge=1.0, le=300.0)
    """A worker that has not been heard of for this long loses its shards."""
    heartbeat_seconds: float = Field(default=2.0, ge=0.1, le=60.0)
    sweep_seconds: float = Field(default=1.0, ge=0.1, le=60.0)
    """How often lost shards, unsent hints and due slots are looked for."""
    offload_poll_seconds: float = Field(default=30.0, ge=0.1, le=3_600.0)
    """How often a vendor is asked how a batch of ours is."""
    batch_window_seconds: float = Field(default=86_400.0, ge=1.0, le=604_800.0)
    """In which a batch of the OpenAI Batch API has to end; what is left then expires."""
    interactive_wait_seconds: float = Field(default=5.0, ge=0.0, le=3600.0)
    """How long a question that somebody waits for is held back for a busy provider; then 429."""
    usage_days: int = Field(default=7, ge=1, le=3650)
    """How long single calls are kept; their hourly sums stay."""
    bucket_rows: int = Field(default=25_000_000, ge=1)
    """Cells planned in a partition at which the next one is opened."""
    log_level: str = "INFO"
    failpoints: str = ""
    """Where a test has the process die (`hikaku.failpoints`); empty in service."""

    @property
    def sqlalchemy_url(self) -> str:
        """The database URL with its driver named."""
        scheme, rest = self.database_url.split("://", 1)
        return (
            f"postgresql+psycopg://{rest}"
            if scheme in {"postgres", "postgresql"}
            else (f"{scheme}://{rest}")
        )

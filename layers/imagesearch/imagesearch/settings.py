"""Settings from the environment, typed; one class for the functions, the batch job and the local stack."""

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from variables named `IMAGESEARCH_…`, such as `IMAGESEARCH_INDEX_URL`."""

    model_config = SettingsConfigDict(env_prefix="IMAGESEARCH_", frozen=True)

    index_url: str = Field(
        description="Where the vectors are indexed: https://… of an OpenSearch (signed with SigV4 when it is "
        "AWS's own), or duckdb:///path/to/file for the embedded index"
    )
    model: Path = Field(Path("/opt/model"), description="Folder of the model artifact")
    index_engine: str = Field(
        "lucene", pattern="^(lucene|lucene-sq|faiss)$", description="k-NN engine of a new OpenSearch index"
    )
    index_shards: int = Field(1, ge=1, le=1_000, description="Primary shards of a new OpenSearch index")

    vectors_url: str | None = Field(
        None,
        description="Output of the encoder, s3://… or a folder, which has the collection's statistics; without them, "
        "hits have no confidence",
    )
    cursor_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="What cursors are signed with, the same for every process that answers; without one, each process "
        "makes its own",
    )

    signed_url_seconds: int = Field(900, ge=1, le=43_200, description="How long a signed URL of an image works")
    file_base_url: str | None = Field(
        None, description="URL that serves file:// images, local stack only; without it they have no URL"
    )

    allow_http: bool = Field(False, description="Whether image_url may be http:// besides https://")
    allow_private: bool = Field(False, description="Whether image_url may lead to private addresses; for tests only")
    fetch_seconds: float = Field(5.0, gt=0, description="Time limit of fetching image_url, redirects included")
    max_image_bytes: int = Field(20_000_000, gt=0, description="Largest image file accepted in a query")
    max_image_pixels: int = Field(100_000_000, gt=0, description="Largest image accepted, in pixels")


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()  # pydantic fills it from the environment

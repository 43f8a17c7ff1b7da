"""What the process itself is told: `LLM_CANARY_*` environment variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from llm_canary.errors import ConfigError

_PREFIX = "LLM_CANARY_"
_SCHEMES = ("sqlite://", "postgresql://")


class Settings(BaseSettings):
    """Frozen; built once by the entry point and passed on."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        frozen=True,
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    config: Path = Field(default=Path("canary.yaml"), description="the configuration file")
    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///./llm_canary.db"),
        description="`sqlite:///FILE` or `postgresql://…`",
    )
    data_dir: Path = Field(
        default=Path(".llm_canary"),
        description="folder of the spool and of the last good table",
    )
    url: str = Field(
        default="http://127.0.0.1:8484",
        description="a running server, for commands that talk to one",
        pattern=r"^https?://[^\s/@]+(/\S*)?$",
    )
    api_key: SecretStr | None = Field(
        default=None, description="the key with which commands talk to that server"
    )
    fine_rollup_days: float = Field(
        default=14,
        ge=1,
        le=3650,
        description="how long charts keep minutes and ten minutes; after that, hours",
    )

    def __init__(self) -> None:
        """Read the environment; raise ConfigError naming every wrong variable, never its value."""
        try:
            super().__init__()
        except ValidationError as error:
            problems = tuple(_problem(fault) for fault in error.errors(include_input=False))
            raise ConfigError("\n".join(problems), problems=problems) from None

    def shown(self) -> dict[str, str]:
        """Return the variables with what may be shown of each."""
        return {
            f"{_PREFIX}CONFIG": str(self.config),
            f"{_PREFIX}DATABASE_URL": self._shown_database(),
            f"{_PREFIX}DATA_DIR": str(self.data_dir),
            f"{_PREFIX}FINE_ROLLUP_DAYS": str(self.fine_rollup_days),
            f"{_PREFIX}URL": self.url,
            f"{_PREFIX}API_KEY": "not set" if self.api_key is None else "set",
        }

    def _shown_database(self) -> str:
        scheme, _, rest = self.database_url.get_secret_value().partition("://")
        # Of a server's address every part may hold a password, however it is written.
        return f"{scheme}://{rest if scheme == 'sqlite' else '(hidden)'}"

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(_SCHEMES):
            raise ValueError(f"expected a URL that begins with {' or '.join(_SCHEMES)}")
        return value


def _problem(fault: ErrorDetails) -> str:
    reason = fault["msg"].removeprefix("Value error, ")
    return f"environment variable {_PREFIX}{str(fault['loc'][0]).upper()}: {reason}"

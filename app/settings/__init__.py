"""The environment as typed, validated and immutable settings."""

from app.settings.load import SettingsError, load_settings
from app.settings.settings import (
    DEVELOPMENT_API_KEY,
    DEVELOPMENT_DATABASE_PASSWORD,
    DEVELOPMENT_JWT_SECRET,
    Environment,
    LogFormat,
    LogLevel,
    Settings,
)

__all__ = [
    "DEVELOPMENT_API_KEY",
    "DEVELOPMENT_DATABASE_PASSWORD",
    "DEVELOPMENT_JWT_SECRET",
    "Environment",
    "LogFormat",
    "LogLevel",
    "Settings",
    "SettingsError",
    "load_settings",
]

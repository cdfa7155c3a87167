"""Loading the settings, with one message that names every error."""

import io
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings.settings import Settings

ENV_FILE = Path(".env")


class SettingsError(Exception):
    """The settings are invalid; the message names every error, and never a secret."""


def load_settings() -> Settings:
    """
    Read the environment and `.env` in the working directory; the environment takes precedence.

    :raises SettingsError: if a setting or the file is invalid
    """
    errors = _errors_of_env_file()
    try:
        settings = Settings(_env_file=ENV_FILE, _env_file_encoding="utf-8-sig")
    except ValidationError as error:
        errors += [_describe(details) for details in error.errors(include_input=False)]
    if errors:
        raise SettingsError("\n".join(errors))
    return settings


def _errors_of_env_file() -> list[str]:
    try:
        text = ENV_FILE.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise SettingsError(".env: must be a text file in UTF-8") from error
    except OSError as error:
        raise SettingsError(f".env: cannot be read ({error.strerror})") from error
    errors = []
    # The file may contain variables of other programs (Compose, the tests): an unknown name is an
    # error only if it is almost the name of a setting.
    names = [name.upper() for name in Settings.model_fields]
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line
        if binding.error:
            errors.append(f".env, line {line}: must be NAME=value")
        elif binding.key is not None and binding.key.upper() not in names:
            similar = get_close_matches(binding.key.upper(), names, n=1, cutoff=0.9)
            if similar:
                errors.append(
                    f".env, line {line}: {binding.key} is not a setting; did you mean"
                    f" {similar[0]}?"
                )
    return errors


def _describe(details: ErrorDetails) -> str:
    name = str(details["loc"][0]).upper() if details["loc"] else "settings"
    match details["type"]:
        case "value_error":
            text = str(details["ctx"]["error"])
        case "int_parsing" | "int_type" | "int_from_float":
            text = "must be a whole number"
        case "float_parsing" | "finite_number":
            text = "must be a number"
        case "bool_parsing":
            text = "must be true or false"
        case _:
            text = details["msg"].replace("Input should", "must").replace("String should", "must")
    return f"{name}: {text}"

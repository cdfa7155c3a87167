"""
`python -m app`: the command line; also the first module of each process of a server.

The garbage collector is off while modules are loaded: they stay for good, and collections over
and over again take a fifth of the start time.
"""

import gc
import sys

gc.disable()

# structlog imports rich if it is installed, for tracebacks with the values of variables. Ours have
# none; the command line imports rich when it prints a table.
sys.modules["rich"] = None  # type: ignore[assignment]  # None prevents the import

import structlog  # noqa: E402, F401 - after the above

del sys.modules["rich"]

from pydantic import BaseModel  # noqa: E402 - after the above

# Building FastAPI's models of an OpenAPI document takes a twentieth of the start time: defer it
# until the document is requested.
BaseModel.model_config["defer_build"] = True

import fastapi.openapi.models  # noqa: E402, F401 - after the above

del BaseModel.model_config["defer_build"]

from app.command_line.main import main  # noqa: E402 - after the above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()

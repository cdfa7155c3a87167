"""
`python -m app`: the command line, and what a process of a server with several begins with.

What is loaded stays for good. To look for garbage among it, again and again as it grows, would be
a fifth of the time that starting takes.
"""

import gc
import sys

gc.disable()

# structlog loads it where it is there, for tracebacks that show the values of variables: ours do
# not. What the command line writes with it is loaded when it is written.
sys.modules["rich"] = None  # type: ignore[assignment]  # so modules are kept from being imported

import structlog  # noqa: E402, F401 - after the above

del sys.modules["rich"]

from pydantic import BaseModel  # noqa: E402 - after the above

# FastAPI's models of what an OpenAPI document may say would be a twentieth of that time. They are
# built when somebody asks for ours.
BaseModel.model_config["defer_build"] = True

import fastapi.openapi.models  # noqa: E402, F401 - after the above

del BaseModel.model_config["defer_build"]

from app.command_line import main  # noqa: E402 - after the above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()

"""
`python -m app`: the command line, and what a process of a server with several begins with.

What is loaded stays for good. To look for garbage among it, again and again as it grows, would be
a fifth of the time that starting takes.
"""

import gc

gc.disable()

from app.command_line import main  # noqa: E402 - after the above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()

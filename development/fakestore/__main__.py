"""Serve the local Fake Store: `python -m development.fakestore --help`."""

import argparse
import os

from development.fakestore.api import create_fakestore
from development.fakestore.server import FakeStoreServer


def main() -> None:
    """Read the command line and serve until a signal."""
    parser = argparse.ArgumentParser(
        prog="python -m development.fakestore",
        description="A local double of https://fakestoreapi.com that fails on request.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8081, help="port to listen on")
    parser.add_argument(
        "--public-url",
        default=os.environ.get("FAKESTORE_PUBLIC_URL") or None,
        help="base of picture URLs for browsers (default: the URL of each request)",
    )
    arguments = parser.parse_args()
    api = create_fakestore(public_url=arguments.public_url)
    FakeStoreServer(api, host=arguments.host, port=arguments.port).run()


if __name__ == "__main__":
    main()

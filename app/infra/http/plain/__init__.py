"""A shorter way for the requests that are made most."""

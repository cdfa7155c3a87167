"""Errors of job administration, importable without procrastinate."""


class JobNotRetryable(Exception):
    """The job does not exist or has not failed."""

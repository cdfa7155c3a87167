import pytest

from tests.double.service import Service


@pytest.fixture
def service() -> Service:
    return Service()

"""What several tests of the local stack start from."""

import psutil
import pytest

from tests.local.processes import Family


@pytest.fixture
def family() -> Family:
    """Lists the processes below this one that the test started."""
    before = psutil.Process().children(recursive=True)
    return lambda: [child for child in psutil.Process().children(recursive=True) if child not in before]

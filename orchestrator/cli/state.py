"""The state that commands look at when they ask no server."""

from orchestrator.adapters import database
from orchestrator.cli.engine import Refused
from orchestrator.settings import Settings, read


def settings() -> Settings:
    """From the environment. Raises `Refused` where nothing has been kept yet."""
    found = read()
    if missing := database.missing_file(found.database_url.get_secret_value()):
        raise Refused(
            f"There is no database at {missing}: set DATABASE_URL. `quarry up` keeps quarry.db in its data directory "
            f"(DATABASE_URL=sqlite:////…/quarry.db), and its files beside it (RESULTS_DIR, UPLOAD_DIR)."
        )
    return found

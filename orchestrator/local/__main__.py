"""`python -m orchestrator.local`: the stack in the foreground, until Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator import settings
from orchestrator.local.console import Screen
from orchestrator.local.lock import DataDirError
from orchestrator.local.process import PartFailed
from orchestrator.local.stack import Addresses, Options, StackError, configured, running
from orchestrator.local.supervisor import Halted, silent


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if it was told to stop, 1 if it could not start or a part died."""
    chosen = parse(arguments)
    screen = Screen()
    try:
        settings.read()  # before anything is started
    except settings.WrongSetting as error:
        screen.complain(str(error))
        return 1
    options = Options(chosen.data_dir.expanduser(), chosen.host, chosen.port)
    echo = silent if chosen.quiet else screen.echo
    try:
        with running(options, echo, screen.say) as (addresses, supervisor):
            screen.say(summary(addresses))
            supervisor.wait()
            screen.say("Stopping …")
    except (Halted, KeyboardInterrupt):
        screen.say("Stopped before it was ready.")
    except (StackError, DataDirError, PartFailed) as error:
        screen.complain(str(error))
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.local",
        description="Runs Triton, Redis, the API and a worker on this machine until Ctrl-C.",
    )
    given = configured()
    parser.add_argument("--host", default=given.get("HOST", "127.0.0.1"))
    parser.add_argument(
        "--port",
        type=port,
        default=given.get("PORT", str(settings.Settings.model_fields["port"].default)),
        help="0 picks a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--data-dir",
        type=folder,
        default=default_data_dir(),
        help="where everything it keeps is (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="do not show the parts' logs")
    return parser.parse_args(arguments)


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it lies between 0 and 65535")
    return int(text)


def folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def default_data_dir() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home, "image-quarry")


def summary(addresses: Addresses) -> str:
    lines = [
        "",
        "Image Quarry is ready.",
        f"  start     {addresses.api}/",
        f"  API docs  {addresses.api}/docs",
        f"  data      {addresses.data_dir}",
    ]
    if addresses.triton:
        lines.append(f"  Triton    gRPC {addresses.triton.grpc}, HTTP {addresses.triton.http}")
    return "\n".join([*lines, "Ctrl-C stops it.", ""])


if __name__ == "__main__":
    sys.exit(main())

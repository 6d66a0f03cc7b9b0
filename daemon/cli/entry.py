"""Where the command ``callspool`` begins: the quick way first, else the whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from daemon.cli import quick


def main() -> None:
    """Ends the process with the exit code."""
    sys.exit(run())


def run() -> int:
    """Do the command on our line; returns its exit code."""
    try:
        said = quick.answer(sys.argv[1:], os.environ, Path.cwd())
        if said is None:
            from daemon.cli.main import run as run_whole

            return run_whole(sys.argv[1:])
        print(said, flush=True)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (callspool … | head): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0

"""``python -m daemon``: the same as the command ``callspool``."""

from daemon.cli.main import main

main()

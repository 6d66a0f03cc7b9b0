"""``python -m daemon``: the same as the command ``callspool``."""

from daemon.cli.entry import main

main()

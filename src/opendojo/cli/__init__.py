"""The command line: `opendojo COMMAND ...`.

Data goes to stdout, progress to stderr; `--json` prints one document with a schema version. Each
command imports what it needs when it is called, so help comes at once. Exit codes: 0 done, 2 wrong
usage, 3 bad data, 4 no resources (space, rights, memory), 5 lost backend, 130 interrupted.

    opendojo demo --json
    opendojo store verify runs/demo/store/world
"""

from opendojo.cli.main import main

__all__ = ["main"]

"""`python -m opendojo.cli` is `opendojo`."""

import sys

from opendojo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

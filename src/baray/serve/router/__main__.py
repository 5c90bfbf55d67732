"""`python -m baray.serve.router CONFIG.json`: how the launcher starts a router process."""

import sys
from pathlib import Path

from baray.serve.router import main, read_config

main(read_config(Path(sys.argv[1])))

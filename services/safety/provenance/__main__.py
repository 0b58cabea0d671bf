"""Make credentials for development: `python -m services.safety.provenance FOLDER`; docs/19-provenance.md says for what."""

import sys
from pathlib import Path

from services.safety.provenance.credentials import make

if len(sys.argv) != 2:
    sys.exit("usage: python -m services.safety.provenance FOLDER")
make(Path(sys.argv[1]))

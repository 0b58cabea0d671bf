"""`python -m scrollintel.visual.cli`."""

from scrollintel.visual.cli import main

main()

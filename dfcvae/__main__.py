"""``python -m dfcvae`` is the command ``dfcvae``."""

import sys

from dfcvae.cli import main

sys.exit(main())

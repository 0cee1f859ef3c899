"""``python -m georgia`` is ``georgia``."""

import sys

from georgia.cli import main

sys.exit(main())

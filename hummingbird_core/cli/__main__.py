"""`python -m hummingbird_core.cli`."""

import sys

from . import main

sys.exit(main())

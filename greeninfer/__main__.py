"""``python -m greeninfer`` is ``greeninfer``."""

from __future__ import annotations

import sys

from greeninfer.cli import main

sys.exit(main())

"""`python -m crm_core` is `crm`."""

from __future__ import annotations

import sys

from crm_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

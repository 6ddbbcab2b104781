"""Lets tests import the modules of this folder that hold no tests themselves."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

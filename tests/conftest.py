"""Properties are tried with the same examples every time: what fails for one fails for all.

`HYPOTHESIS_PROFILE=search` looks for others, and for many more of them.
"""

import os

from hypothesis import settings

# A deadline in wall time fails on a busy machine; what must be quick is measured in CPU time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

"""Properties are tried with the same examples every time: what fails for one fails for all.

`HYPOTHESIS_PROFILE=search` looks for others, and for many more of them.
"""

import os

from hypothesis import HealthCheck, settings

# A limit in wall time fails on a busy machine; what must be quick is measured in CPU time.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", PATIENT, derandomize=True)
settings.register_profile("search", PATIENT, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

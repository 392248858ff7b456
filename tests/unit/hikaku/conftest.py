from hypothesis import settings

# A deadline in wall time fails on a busy machine; what must be quick is measured in CPU time.
settings.register_profile("hikaku", deadline=None)
settings.load_profile("hikaku")

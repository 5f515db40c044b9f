"""Settings for every test."""

from hypothesis import HealthCheck, settings

# No deadlines: a busy machine must not fail a test. Each test bounds its own examples.
settings.register_profile("logv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("logv")

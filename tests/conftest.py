"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# By the clock a property only fails on a busy machine. What takes too long in itself is seen in
# `--durations`. The rest is hypothesis's own choice, which is another one in CI.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

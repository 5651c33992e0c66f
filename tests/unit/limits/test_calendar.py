"""The current window is worked out again when it has ended."""

from extproc.limits.windows import Calendar, Window


def test_a_window_is_kept_until_it_ends() -> None:
    calendar = Calendar()
    first = calendar.window("day", "UTC", 10.0)
    assert calendar.window("day", "UTC", 86_399.9) is first
    assert calendar.window("day", "UTC", 86_400.0) == Window(86_400, 172_800)
    assert calendar.window("day", "Asia/Tokyo", 10.0) == Window(-32_400, 54_000)

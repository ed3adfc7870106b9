"""Where a marathon can be run."""

from __future__ import annotations

from dataclasses import dataclass

MILES = 26.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One button: its words, how the race is expected to end, and what the runner is in for."""

    slug: str
    title: str
    text: str
    ending: str
    pace: int
    """Seconds a mile, where it is flat."""
    hills: range = range(0)
    """The miles that go up."""
    given_up_at: float = MILES

    def pace_at(self, miles: float) -> int:
        """Seconds a mile, so far into the race."""
        return self.pace * 5 // 4 if int(miles) in self.hills else self.pace


COURSES = {
    course.slug: course
    for course in (
        Course(
            slug="boston",
            title="Boston",
            text="From Hopkinton to Boylston Street. Watch the pace on the hills, from mile 17 on.",
            ending="finished",
            pace=482,
            hills=range(17, 21),
        ),
        Course(
            slug="berlin",
            title="Berlin",
            text="Flat, and through the Brandenburg Gate.",
            ending="finished",
            pace=455,
        ),
        Course(
            slug="death-valley",
            title="Death Valley",
            text="It is 49 °C in the shade, and there is no shade.",
            ending="failed",
            pace=560,
            given_up_at=16.4,
        ),
    )
}
